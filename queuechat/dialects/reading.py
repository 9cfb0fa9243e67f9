"""Orders for jobs that only read: how a prompt looks to the model, before or instead of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from queuechat.dialects import chat
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.schemas import DetokenizeRequest, TokenizeRequest
from queuechat.protocol import Job, Read, Want

PATIENCE_S = 30.0  #: a worker that is there reads at once, however busy its engine is


def reading_of(job: Job, want: Want = "count") -> Job:
    """The job that reads the prompt of another, and answers nothing."""
    return replace(
        job,
        lane="reads",
        reading=want,
        max_tokens=None,
        grammar=None,
        logprobs=None,
        deadline_s=min(job.deadline_s, PATIENCE_S),
    )


def order_of(body: TokenizeRequest, slip: Slip) -> Order:
    """Raises UnsupportedParameter for what the model cannot be asked in a chat, either."""
    want: Want = "pieces" if body.return_token_strs else "tokens"
    if body.messages is not None:
        spoken = chat.order_of(body, slip).jobs[0]
        closed = {"add_generation_prompt": False} if body.add_generation_prompt is False else {}
        job = replace(spoken, template_args=spoken.template_args | closed)
    else:
        job = _plain(slip, body.prompt, add_special=body.add_special_tokens is not False)
    return Order([reading_of(job, want)], body.model, ignored=body.ignored)


def text_order_of(body: DetokenizeRequest, slip: Slip) -> Order:
    """For the text of ids."""
    return Order([reading_of(_plain(slip, body.tokens), "text")], body.model, ignored=body.ignored)


def count_order_of(prompts: Sequence[tuple[str, str]], slip: Slip) -> Order:
    """For the lengths of prompts: (job id, text) each."""
    jobs = [replace(_plain(slip, text), id=id) for id, text in prompts]
    return Order([reading_of(job) for job in jobs], slip.model)


def tokens_body(read: Read, context_length: int, *, pieces: bool) -> dict[str, Any]:
    """vLLM's answer."""
    body: dict[str, Any] = {"count": read.count, "max_model_len": context_length, "tokens": read.ids}
    return body | {"token_strs": read.pieces if pieces else None}


def _plain(slip: Slip, prompt: str | list[int] | None, *, add_special: bool = True) -> Job:
    return Job(
        slip.id, slip.model, prompt=prompt, tenant=slip.tenant, deadline_s=slip.deadline_s, add_special=add_special
    )
