"""The whole answer as one object, once its events have come."""

from __future__ import annotations

from typing import Any, Protocol

from queuechat.answer import Event
from queuechat.dialects.message import Message, likelihoods
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.speech import ContentDelta, Reader
from queuechat.dialects.style import Style
from queuechat.protocol import Chunk, End, Logprob, choice_id


class Whole(Protocol):
    """Takes the events of an order as they come; then it is the body of the answer."""

    def add(self, index: int, event: Event) -> None: ...

    def body(self, id: str, tally: Tally) -> dict[str, Any]: ...


class WholeText:
    """Of a chat or a completion."""

    def __init__(self, style: Style, order: Order, created: int, id: str = ""):
        """`id` is that of the request whose answer this is, of which calls have theirs; that of the order if not told:
        what repeats an earlier request has its answer."""
        first = id or order.jobs[0].id
        self._style, self._order, self._created = style, order, created
        self._readers = [Reader(order.manner, choice_id(first, k)) for k in range(len(order.jobs))]
        self._messages = [Message(order.showing) for _ in order.jobs]
        self._logprobs: list[list[Logprob]] = [[] for _ in order.jobs]
        self._reasons = [""] * len(order.jobs)
        for message, echo in zip(self._messages, order.echo, strict=False):
            message.add([ContentDelta(echo)])

    def add(self, index: int, event: Event) -> None:
        reader, message = self._readers[index], self._messages[index]
        if isinstance(event, Chunk):
            message.add(reader.feed(event.text))
            self._logprobs[index] += event.logprobs
        elif isinstance(event, End):
            message.add(reader.feed(event.text) + reader.finish())
            self._reasons[index] = self._order.showing.reason(event.reason, called=message.called)

    def body(self, id: str, tally: Tally) -> dict[str, Any]:
        return {
            "id": self._style.prefix + id,
            "object": self._style.whole,
            "created": self._created,
            "model": self._order.name,
            "choices": [self._choice(index, message) for index, message in enumerate(self._messages)],
            "usage": tally.usage(),
            **self._order.told_tier,
        }

    def _choice(self, index: int, message: Message) -> dict[str, Any]:
        part = {"message": message.body()} if self._style.chat else {"text": message.content}
        logprobs = likelihoods(self._logprobs[index]) if self._order.showing.logprobs else None
        return {"index": index, **part, "logprobs": logprobs, "finish_reason": self._reasons[index]}
