"""The frames of completions that tell log probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from api.sse import TextFrames, comment, frame
from queuechat.client import Event, Waiting
from queuechat.dialects.likely import Likely, text_of, told_by
from queuechat.dialects.order import Order
from queuechat.dialects.style import Style
from queuechat.protocol import Chunk, End


class LikelyFrames(TextFrames):
    """One frame for each event. An echoed prompt comes with its log probabilities, when they are there."""

    def __init__(self, style: Style, id: str, created: int, order: Order):
        super().__init__(style, id, created, order)
        self._likely = [Likely() for _ in order.jobs]
        self._scores = bool(order.echo)

    def _open(self, index: int) -> bytes:
        return b"" if self._scores else super()._open(index)

    def _one(self, index: int, event: Event) -> bytes:
        if isinstance(event, Waiting):
            return comment(event)
        echo = (self._echo[index] or text_of(event.prompt)) if event.prompt else ""
        body = self._told(index, event, echo + event.text) if told_by(event) or event.text else b""
        return body + (self._finish(index, event) if isinstance(event, End) else b"")

    def _many(self, events: Sequence[tuple[int, Event]]) -> bytes:
        return b"".join(self._one(index, event) for index, event in events)

    def _told(self, index: int, event: Chunk | End, text: str) -> bytes:
        chunk = self._chunk(index, self._style.text(text))
        chunk["choices"][0]["logprobs"] = self._likely[index].lists(told_by(event))
        return frame(chunk)
