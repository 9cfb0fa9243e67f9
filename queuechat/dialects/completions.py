"""Completions: the order that a body places."""

from __future__ import annotations

from dataclasses import replace

from queuechat.dialects.message import Showing
from queuechat.dialects.order import BYTES, Order, Slip
from queuechat.dialects.schemas import CompletionRequest
from queuechat.errors import UnsupportedParameter
from queuechat.protocol import Job, ModelCard, choice_id


def order_of(body: CompletionRequest, slip: Slip, idem: tuple[str, str] | None = None) -> Order:
    """Raises UnsupportedParameter for what the model cannot: tell logprobs, of prompts too, or fill in the middle."""
    slip.refuse_encoders(body.model)
    _refuse_beyond(body, slip.card)
    ranked = body.made > body.choices
    pattern = Job(
        id=slip.id,
        model=slip.model,
        sampling=body.sampling(slip.seed),
        max_tokens=body.limit,
        stop=body.stops,
        ignore_eos=bool(body.ignore_eos),
        lane=slip.lane,
        tenant=slip.tenant,
        deadline_s=slip.deadline_s,
        logprobs=0 if ranked and body.logprobs is None else body.logprobs,
        prompt_logprobs=body.logprobs if body.echo else None,
        suffix=body.suffix or None,
        add_special=body.add_special_tokens is not False,
        given=body.given if slip.card.relayed else [],
    )
    return Order(
        jobs=_jobs(pattern, body),
        name=body.model,
        siblings=body.made,
        include_usage=body.include_usage,
        echo=_echo(body) if body.echo else (),
        ignored=body.ignored,
        idem=idem,
        showing=Showing(logprobs=body.logprobs is not None),
        kept=body.choices if ranked else None,
        unit=BYTES if slip.card.relayed else 1,
    )


def _refuse_beyond(body: CompletionRequest, card: ModelCard) -> None:
    name = body.model
    if body.logprobs is not None and not card.logprobs:
        raise UnsupportedParameter(f"the model {name!r} tells no logprobs: leave them out", param="logprobs")
    if body.logprobs is not None and body.echo and not card.scores:
        raise UnsupportedParameter(f"the model {name!r} tells no logprobs of prompts: leave `echo` out", param="echo")
    if body.made > body.choices and not card.logprobs:
        raise UnsupportedParameter(f"the model {name!r} tells no logprobs to find the best by", param="best_of")
    if body.suffix and not card.fim:
        raise UnsupportedParameter(f"the model {name!r} does not fill in the middle: leave it out", param="suffix")


def _echo(body: CompletionRequest) -> list[str]:
    """The text before each answer. That of ids comes with their logprobs."""
    return [prompt if isinstance(prompt, str) else "" for prompt in body.prompts for _ in range(body.made)]


def _jobs(pattern: Job, body: CompletionRequest) -> list[Job]:
    """One job for each answer to each prompt. The noise depends on seed and choice, not on the prompt's place."""
    n = body.made
    return [
        replace(
            pattern,
            id=choice_id(pattern.id, at * n + k),
            prompt=prompt,
            sampling=replace(pattern.sampling, choice=k),
        )
        for at, prompt in enumerate(body.prompts)
        for k in range(n)
    ]
