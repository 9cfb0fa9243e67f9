"""The whole answer as one object, once its events have come."""

from __future__ import annotations

from typing import Any, Protocol

from queuechat.answer import Event
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.style import Style
from queuechat.protocol import End


class Whole(Protocol):
    """Takes the events of an order as they come; then it is the body of the answer."""

    def add(self, index: int, event: Event) -> None: ...

    def body(self, id: str, tally: Tally) -> dict[str, Any]: ...


class WholeText:
    """Of a chat or a completion."""

    def __init__(self, style: Style, order: Order, created: int):
        self._style, self._order, self._created = style, order, created
        self._texts = [[order.echo[k]] if order.echo else [] for k in range(len(order.jobs))]
        self._reasons = [""] * len(order.jobs)

    def add(self, index: int, event: Event) -> None:
        self._texts[index].append(getattr(event, "text", ""))
        if isinstance(event, End):
            self._reasons[index] = event.reason.value

    def body(self, id: str, tally: Tally) -> dict[str, Any]:
        return {
            "id": self._style.prefix + id,
            "object": self._style.whole,
            "created": self._created,
            "model": self._order.name,
            "choices": [self._choice(index, "".join(parts)) for index, parts in enumerate(self._texts)],
            "usage": tally.usage(),
        }

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        part = self._style.whole_part(text)
        return {"index": index, **part, "logprobs": None, "finish_reason": self._reasons[index]}
