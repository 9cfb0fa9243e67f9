"""An answer as Anthropic shows it: content blocks, and why it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from queuechat.answer import Event
from queuechat.dialects.calling import as_text, object_of
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.speech import RELAYED, ContentDelta, Part, Reader, ReasoningDelta, ToolStart
from queuechat.dialects.speech.parts import joined
from queuechat.protocol import Chunk, End, Reason


def message_of(order: Order, id: str) -> dict[str, Any]:
    """A message of which nothing is known but who speaks."""
    return {
        "id": f"msg_{id}",
        "type": "message",
        "role": "assistant",
        "model": order.name,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def ending_of(end: End, order: Order, *, called: bool) -> dict[str, Any]:
    """`stop_reason` and `stop_sequence`. Where a provider elsewhere answers, tokens may be a
    guess, which tells nothing of a full context.
    """
    if end.reason is Reason.LENGTH:
        full = order.manner.tools != RELAYED and end.tokens < (order.jobs[0].max_tokens or 0)
        return {"stop_reason": "model_context_window_exceeded" if full else "max_tokens", "stop_sequence": None}
    if called:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    return {"stop_reason": "stop_sequence" if end.stop else "end_turn", "stop_sequence": end.stop or None}


def usage_of(tally: Tally) -> dict[str, Any]:
    """Tokens of prompt and answer until now; nothing is told of the caches of engines."""
    return {
        "input_tokens": tally.prompt_tokens,
        "output_tokens": tally.generated,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


class WholeMessage:
    """The one answer of an order, when it has ended; `id` is that of the request whose answer it is."""

    def __init__(self, order: Order, id: str):
        self._order = order
        self._reader = Reader(order.manner, id)
        self._parts: list[Part] = []
        self._end: End | None = None

    def add(self, index: int, event: Event) -> None:
        if isinstance(event, Chunk):
            self._parts += self._reader.feed(event.text)
        elif isinstance(event, End):
            self._parts += self._reader.feed(event.text) + self._reader.finish()
            self._end = event

    def body(self, id: str, tally: Tally) -> dict[str, Any]:
        assert self._end
        content = blocks_of(self._parts)
        called = any(block["type"] == "tool_use" for block in content)
        ending = ending_of(self._end, self._order, called=called)
        usage = usage_of(tally) | {"service_tier": "standard"}
        return message_of(self._order, id) | {"content": content, **ending, "usage": usage}


def blocks_of(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The content of a message. A call whose arguments are no object stays text."""
    blocks: list[dict[str, Any]] = []
    start: ToolStart | None = None
    for part in joined(list(parts)):
        if isinstance(part, ContentDelta):
            blocks.append({"type": "text", "text": part.text})
        elif isinstance(part, ReasoningDelta):
            blocks.append({"type": "thinking", "thinking": part.text, "signature": ""})
        elif isinstance(part, ToolStart):
            start = part
            blocks.append(_call(start, ""))
        elif start:
            blocks[-1] = _call(start, part.text)
    return blocks


def _call(start: ToolStart, arguments: str) -> dict[str, Any]:
    given = object_of(arguments)
    if given is None:
        return {"type": "text", "text": as_text(start.name, arguments)}
    return {"type": "tool_use", "id": start.id, "name": start.name, "input": given}
