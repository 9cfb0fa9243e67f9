"""The order that the body of a response places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from queuechat.dialects import chat
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.pictures import images_of, unheeded
from queuechat.dialects.responses.asked import Asked
from queuechat.dialects.responses.sights import Sights
from queuechat.dialects.responses.turns import turns_of
from queuechat.dialects.schemas import ResponseRequest


def order_of(
    body: ResponseRequest,
    slip: Slip,
    items: Sequence[dict[str, Any]],
    idem: tuple[str, str] | None = None,
    *,
    keep_s: float = 0.0,
) -> Order:
    """`items` are all of the conversation, `keep_s` is for how long its log is kept after its end.

    Raises:
        UnsupportedParameter: the model cannot call tools, be made to, keep to a form, tell logprobs or see.
        InvalidImage: one is none, or was not fetched.
    """
    order = chat.order_of(body, slip, idem)
    sights = Sights(body.model, items)
    job = replace(order.jobs[0], messages=turns_of(body.instructions, items), images=images_of(sights, slip))
    return replace(
        order,
        jobs=[job],
        ignored=[*order.ignored, *unheeded(sights)],
        unwatched=bool(body.background),
        keep_s=keep_s,
        tells_failures=bool(body.stream),
    )


def asked_of(
    body: ResponseRequest, order: Order, items: list[dict[str, Any]], created: int, previous: str = ""
) -> Asked:
    """What is stored of it; `items` are its own input, in normal form, and `previous` the id before it."""
    return Asked(
        id=order.jobs[0].id,
        created_at=created,
        echo=_echo(body, order),
        items=items,
        manner=order.manner,
        previous=previous,
        background=bool(body.background),
        likely=order.showing.logprobs,
    )


def _echo(body: ResponseRequest, order: Order) -> dict[str, Any]:
    sampling = order.jobs[0].sampling
    choice = body.tool_choice or "auto"
    return {
        "model": body.model,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "safety_identifier": body.safety_identifier,
        "service_tier": order.tier or "default",
        "store": body.stored,
        "temperature": sampling.temperature,
        "text": _text(body),
        "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
        "tools": [tool.model_dump() | {"strict": bool(tool.strict)} for tool in body.tools or []],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": sampling.top_p,
        "truncation": "disabled",
        "user": body.user,
    }


def _text(body: ResponseRequest) -> dict[str, Any]:
    options = body.text
    form = options.format if options else None
    told = form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
    return {"format": told, "verbosity": (options and options.verbosity) or "medium"}
