"""Server-sent events as OpenAI's clients read them, built from bytes that are encoded once a stream.

A comment ends with one newline and there are no `id:` lines: either of these, done otherwise, breaks the Python SDK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from api import problems
from queuechat.client import Event, Waiting
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.style import Style
from queuechat.errors import QueuechatError
from queuechat.protocol import Chunk, End

DONE = b"data: [DONE]\n\n"
STILL_HERE = b": waiting\n"
EVENT_STREAM = "text/event-stream"

_HOLE = "\ue000text\ue000"  # a private-use character that no model name may hold


class TextFrames:
    """The frames of one stream; only new text is encoded for each."""

    media_type = EVENT_STREAM
    still_here = STILL_HERE
    _nothing: str | None = ""  # the content of a message that has none yet

    def __init__(self, style: Style, id: str, created: int, order: Order):
        self._style = style
        self._base = {"id": style.prefix + id, "object": style.object, "created": created, "model": order.name}
        self._base |= order.told_tier
        self._usage = order.include_usage
        self._echo = order.echo
        self._count = len(order.jobs)
        self._opened = False
        self._parts = [self._split(index) for index in range(self._count)]

    def render(self, events: Sequence[tuple[int, Event]]) -> bytes:
        """One frame for each choice that has new text, then its last one if it ended; before the very first,
        the sight of each choice in order."""
        body = self._one(*events[0]) if len(events) == 1 else self._many(events)
        if self._opened or all(isinstance(event, Waiting) for _, event in events):
            return body
        self._opened = True
        return b"".join(self._open(index) for index in range(self._count)) + body

    def last(self, tally: Tally) -> bytes:
        return (frame(self._base | {"choices": [], "usage": tally.usage()}) if self._usage else b"") + DONE

    def failure(self, error: QueuechatError, id: str) -> bytes:
        """An error where the next words were expected; no [DONE] follows."""
        return frame({"error": problems.body_of(error)["error"] | {"request_id": id}})

    def _one(self, index: int, event: Event) -> bytes:
        if isinstance(event, Chunk):
            return self._delta(index, event.text) if event.text else b""
        if isinstance(event, Waiting):
            return comment(event)
        return (self._delta(index, event.text) if event.text else b"") + self._finish(index, event)

    def _many(self, events: Sequence[tuple[int, Event]]) -> bytes:
        texts: dict[int, list[str]] = {}
        out: list[bytes] = []
        ends: list[bytes] = []
        for index, event in events:
            if isinstance(event, Waiting):
                out.append(comment(event))
                continue
            if event.text:
                texts.setdefault(index, []).append(event.text)
            if isinstance(event, End):
                ends.append(self._finish(index, event))
        out += [self._delta(index, "".join(parts)) for index, parts in texts.items()]
        return b"".join(out + ends)

    def _delta(self, index: int, text: str) -> bytes:
        head, tail = self._parts[index]
        return head + orjson.dumps(text) + tail

    def _finish(self, index: int, end: End) -> bytes:
        return frame(self._chunk(index, self._style.last(), end.reason.value))

    def _open(self, index: int) -> bytes:
        if self._style.chat:
            return frame(self._chunk(index, {"delta": {"role": "assistant", "content": self._nothing}}))
        return frame(self._chunk(index, self._style.text(self._echo[index]))) if self._echo else b""

    def _chunk(self, index: int, part: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, **part, "logprobs": None, "finish_reason": reason}
        chunk = self._base | {"choices": [choice]}
        return chunk | {"usage": None} if self._usage else chunk

    def _split(self, index: int) -> tuple[bytes, bytes]:
        head, tail = frame(self._chunk(index, self._style.text(_HOLE))).split(orjson.dumps(_HOLE))
        return head, tail


def frame(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def comment(waiting: Waiting) -> bytes:
    eta = f" eta={waiting.eta_s:.0f}s" if waiting.eta_s else ""
    return f": queued position={waiting.place}{eta}\n".encode()
