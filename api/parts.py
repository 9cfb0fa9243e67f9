"""The frames of answers that are more than their text: thoughts, calls of tools, log probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from api.sse import TextFrames, comment, frame
from queuechat.client import Event, Waiting
from queuechat.dialects.message import likelihoods
from queuechat.dialects.order import Order
from queuechat.dialects.speech import Part, Reader
from queuechat.dialects.speech.parts import joined
from queuechat.dialects.style import Style
from queuechat.protocol import Chunk, End, Logprob, choice_id


class PartFrames(TextFrames):
    """One frame for each part. Log probabilities go out with the next frame of their choice, its last at the latest."""

    _nothing = None  # there may be calls only

    def __init__(self, style: Style, id: str, created: int, order: Order):
        super().__init__(style, id, created, order)
        self._showing = order.showing
        self._readers = [Reader(order.manner, choice_id(id, k)) for k in range(len(order.jobs))]
        self._likely: list[list[Logprob]] = [[] for _ in order.jobs]

    def _one(self, index: int, event: Event) -> bytes:
        return self._many([(index, event)])

    def _many(self, events: Sequence[tuple[int, Event]]) -> bytes:
        parts: dict[int, list[Part]] = {}
        out: list[bytes] = []
        ends: list[tuple[int, End]] = []
        for index, event in events:
            if isinstance(event, Waiting):
                out.append(comment(event))
                continue
            parts.setdefault(index, []).extend(self._read(index, event))
            if isinstance(event, End):
                ends.append((index, event))
        out += [self._tell(index, part) for index, fresh in parts.items() for part in joined(fresh)]
        return b"".join(out + [self._finish(index, end) for index, end in ends])

    def _read(self, index: int, event: Chunk | End) -> list[Part]:
        reader = self._readers[index]
        parts = reader.feed(event.text)
        if isinstance(event, End):
            return parts + reader.finish()
        self._likely[index] += event.logprobs
        return parts

    def _tell(self, index: int, part: Part) -> bytes:
        chunk = self._chunk(index, {"delta": self._showing.delta(part)})
        return frame(self._with_likelihoods(chunk, index))

    def _finish(self, index: int, end: End) -> bytes:
        reason = self._showing.reason(end.reason, called=self._readers[index].called)
        return frame(self._with_likelihoods(self._chunk(index, self._style.last(), reason), index))

    def _with_likelihoods(self, chunk: dict[str, object], index: int) -> dict[str, object]:
        fresh, self._likely[index] = self._likely[index], []
        if fresh and self._showing.logprobs:
            chunk["choices"][0]["logprobs"] = likelihoods(fresh)  # type: ignore[index]
        return chunk
