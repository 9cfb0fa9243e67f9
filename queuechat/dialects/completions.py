"""Completions: the order that a body places."""

from __future__ import annotations

from dataclasses import replace

from queuechat.dialects.order import Order, Slip
from queuechat.dialects.schemas import CompletionRequest
from queuechat.protocol import Job, choice_id


def order_of(body: CompletionRequest, slip: Slip, idem: tuple[str, str] | None = None) -> Order:
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
    )
    return Order(
        jobs=_jobs(pattern, body),
        name=body.model,
        siblings=body.choices,
        include_usage=body.include_usage,
        echo=[str(prompt) for prompt in body.prompts for _ in range(body.choices)] if body.echo else (),
        ignored=body.ignored,
        idem=idem,
    )


def _jobs(pattern: Job, body: CompletionRequest) -> list[Job]:
    """One job for each choice of each prompt. The noise depends on seed and choice, not on the prompt's place."""
    n = body.choices
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
