"""A message as it comes: each block is opened, grows and is closed before the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from queuechat.answer import Event, Waiting
from queuechat.dialects.anthropic.answer import ending_of, message_of, usage_of
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.speech import ContentDelta, Part, Reader, ReasoningDelta, ToolArguments
from queuechat.dialects.speech.parts import joined
from queuechat.protocol import End

PING: dict[str, Any] = {"type": "ping"}

Told = dict[str, Any]


class MessageStream:
    """The events of one answer in Anthropic's form, each an object with its `type`.

    How many tokens the prompt had is known at the end only: `message_delta` tells it, `message_start` says 0.
    """

    def __init__(self, order: Order, id: str):
        self._order, self._id = order, id
        self._reader = Reader(order.manner, id)
        self._begun = False
        self._open = ""  # type of the block that is open
        self._at = -1  # its index, or that of the last one
        self._end: End | None = None

    def feed(self, events: Sequence[tuple[int, Event]]) -> list[Told]:
        told = [] if self._begun else self._begin()
        parts: list[Part] = []
        for _, event in events:
            if isinstance(event, Waiting):
                told.append(PING)
                continue
            parts += self._reader.feed(event.text)
            if isinstance(event, End):
                parts += self._reader.finish()
                self._end = event
        for part in joined(parts):
            told += self._tell(part)
        return told

    def last(self, tally: Tally) -> list[Told]:
        assert self._end
        ending = ending_of(self._end, self._order, called=self._reader.called)
        return [
            *self._close(),
            {"type": "message_delta", "delta": ending, "usage": usage_of(tally)},
            _of("message_stop"),
        ]

    def _begin(self) -> list[Told]:
        self._begun = True
        usage = usage_of(Tally()) | {"service_tier": "standard"}
        message = message_of(self._order, self._id) | {"usage": usage}
        return [{"type": "message_start", "message": message}, PING]

    def _tell(self, part: Part) -> list[Told]:
        if isinstance(part, ContentDelta):
            return [*self._in("text", {"text": ""}), self._delta("text_delta", text=part.text)]
        if isinstance(part, ReasoningDelta):
            opened = self._in("thinking", {"thinking": "", "signature": ""})
            return [*opened, self._delta("thinking_delta", thinking=part.text)]
        if isinstance(part, ToolArguments):
            return [self._delta("input_json_delta", partial_json=part.text)]
        return [*self._close(), *self._in("tool_use", {"id": part.id, "name": part.name, "input": {}})]

    def _in(self, kind: str, block: dict[str, Any]) -> list[Told]:
        """What opens a block of that kind, unless it is open."""
        if self._open == kind:
            return []
        closed = self._close()
        self._open, self._at = kind, self._at + 1
        return [*closed, _of("content_block_start", index=self._at, content_block={"type": kind, **block})]

    def _close(self) -> list[Told]:
        if not self._open:
            return []
        self._open = ""
        return [_of("content_block_stop", index=self._at)]

    def _delta(self, kind: str, **more: str) -> Told:
        return _of("content_block_delta", index=self._at, delta={"type": kind, **more})


def _of(kind: str, **more: Any) -> Told:
    return {"type": kind, **more}
