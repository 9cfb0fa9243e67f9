"""A response and its stream, from what it was asked and its log.

Each event follows from the log alone, an entry at a time: whoever reads it, whenever and from whichever server, tells
the same events under the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from queuechat.answer import Event, Waiting, failure_of
from queuechat.dialects.order import BYTES, Tally
from queuechat.dialects.problems import kind_of
from queuechat.dialects.responses.asked import Asked, outcome_of
from queuechat.dialects.responses.items import Call, Item, Message, Thought, Told
from queuechat.dialects.speech import RELAYED, ContentDelta, Part, Reader, ReasoningDelta, ToolStart
from queuechat.protocol import DELIVERED, Chunk, End, Logprob, Reason

_STATUS = {Reason.STOP: "completed", Reason.LENGTH: "incomplete", Reason.CANCELLED: "cancelled"}
_LAST = {"completed": "response.completed", "failed": "response.failed"}


class Assembly:
    """Feed it the log in order, from its beginning."""

    def __init__(self, asked: Asked):
        self.asked = asked
        self._reader = Reader(asked.manner, asked.id)
        self._items: list[Item] = []
        self._item: Item | None = None  # the one that grows
        self._output: list[dict[str, Any]] = []
        self._likely: list[Logprob] = []
        self._thoughts = 0  # tokens of thoughts, to the chunk
        self._numbers = 0
        self._begun = False
        self._status = "queued" if asked.background else "in_progress"
        self.end: End | None = None

    @property
    def last_number(self) -> int:
        """Of the events that were told."""
        return max(self._numbers - 1, 0)

    def open(self) -> list[dict[str, Any]]:
        """What is told before the log says anything."""
        told = [self._whole("response.created")]
        if self.asked.background:
            told.append(self._whole("response.queued"))
        return told if self.asked.background else told + self._begin()

    def feed(self, event: Chunk | End) -> list[dict[str, Any]]:
        """The events that an entry of the log adds."""
        if isinstance(event, Chunk):
            told = self._begin()
            parts = self._reader.feed(event.text)
            if self.asked.likely:
                self._likely += event.logprobs
            self._count(event, parts)
        else:
            told = self._begin() if event.times.started else []
            parts = self._reader.feed(event.text) + self._reader.finish()
        for part in parts:
            told += self._tell(part)
        if not isinstance(self._item, Message | None):
            self._likely = []  # of thoughts and calls nothing is told
        return told + self._finish(event) if isinstance(event, End) else told

    def body(self) -> dict[str, Any]:
        """The response as far as it has come."""
        return self.asked.shown(self.outcome())

    def outcome(self) -> dict[str, Any]:
        end = self.end
        if end is None:
            return outcome_of(self._status)
        return outcome_of(
            self._status,
            output=self._output,
            completed_at=end.times.ended // 1000 if self._status == "completed" else None,
            error=_error(end) if self._status == "failed" else None,
            incomplete="max_output_tokens" if self._status == "incomplete" else None,
            usage=self._usage(end) if end.reason in DELIVERED else None,
        )

    def _begin(self) -> list[dict[str, Any]]:
        if self._begun:
            return []
        self._begun, self._status = True, "in_progress"
        return [self._whole("response.in_progress")]

    def _count(self, chunk: Chunk, parts: list[Part]) -> None:
        thinks = isinstance(self._item, Thought) or (self._item is None and not self._output)
        if self.asked.manner.thinks and thinks and all(isinstance(part, ReasoningDelta) for part in parts):
            self._thoughts += chunk.count

    def _tell(self, part: Part) -> list[dict[str, Any]]:
        if isinstance(part, ContentDelta):
            told, item = self._of(Message)
            fresh, self._likely = self._likely, []
            return [*told, self._event(*item.add(part.text, fresh))]
        if isinstance(part, ReasoningDelta):
            told, thought = self._of(Thought)
            return [*told, self._event(*thought.add(part.text))]
        if isinstance(part, ToolStart):
            return self._close() + self._open(Call(self.asked.id, len(self._output), part.id, part.name))
        assert isinstance(self._item, Call)
        return [self._event(*self._item.add(part.text))]

    def _of(self, kind: type[Any]) -> tuple[list[dict[str, Any]], Any]:
        """The open item, after a new one was opened if that is of another kind."""
        if isinstance(self._item, kind):
            return [], self._item
        told = self._close()
        return told + self._open(kind(self.asked.id, len(self._output))), self._item

    def _open(self, item: Item) -> list[dict[str, Any]]:
        self._item = item
        added = {"output_index": item.place["output_index"], "item": item.shown("in_progress")}
        return self._all([("response.output_item.added", added), *item.begin()])

    def _close(self, status: str = "completed") -> list[dict[str, Any]]:
        item, self._item = self._item, None
        if item is None:
            return []
        shown = item.shown(status)
        self._output.append(shown)
        done = {"output_index": item.place["output_index"], "item": shown}
        return self._all([*item.end(), ("response.output_item.done", done)])

    def _finish(self, end: End) -> list[dict[str, Any]]:
        if isinstance(self._item, Message):
            self._item.know(self._likely)
        told = self._close("completed" if end.reason is Reason.STOP else "incomplete")
        self.end, self._status = end, _STATUS.get(end.reason, "failed")
        # There is no event for a cancelled response; its status says what it is.
        return [*told, self._whole(_LAST.get(self._status, "response.incomplete"))]

    def _usage(self, end: End) -> dict[str, Any]:
        thoughts = self._thoughts if any(item["type"] == "reasoning" for item in self._output) else 0
        if self.asked.manner.tools == RELAYED:  # of these the log has bytes
            thoughts = min(-(-thoughts // BYTES), end.tokens)
        return {
            "input_tokens": end.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": end.tokens,
            "output_tokens_details": {"reasoning_tokens": thoughts},
            "total_tokens": end.prompt_tokens + end.tokens,
        }

    def _whole(self, type: str) -> dict[str, Any]:
        return self._event(type, {"response": self.body()})

    def _all(self, told: list[Told]) -> list[dict[str, Any]]:
        return [self._event(*one) for one in told]

    def _event(self, type: str, fields: dict[str, Any]) -> dict[str, Any]:
        number, self._numbers = self._numbers, self._numbers + 1
        return {"type": type, "sequence_number": number, **fields}


def assembled(asked: Asked, events: Iterable[Event]) -> Assembly:
    """What has come of a response, from all events of its log."""
    assembly = Assembly(asked)
    assembly.open()
    for event in events:
        if not isinstance(event, Waiting):
            assembly.feed(event)
    return assembly


class WholeResponse:
    """A response that is answered in one piece; `asked` has the id of the request whose answer it is."""

    def __init__(self, asked: Asked):
        self.assembly = Assembly(asked)
        self.assembly.open()

    def add(self, index: int, event: Event) -> None:
        if not isinstance(event, Waiting):
            self.assembly.feed(event)

    def body(self, id: str, tally: Tally) -> dict[str, Any]:
        return self.assembly.body()


def _error(end: End) -> dict[str, Any]:
    """OpenAI's codes are a closed set: the message says the rest."""
    failure = failure_of(end)
    assert failure is not None
    kind = kind_of(failure)
    code = "invalid_prompt" if kind.status < 500 else "server_error"
    return {"code": code, "message": kind.message or failure.message, "param": failure.param}
