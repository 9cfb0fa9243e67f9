"""An answer as Ollama shows it: lines of a stream that each are an object, or all of it in one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from queuechat.answer import Event, Waiting
from queuechat.dialects.calling import as_text, object_of
from queuechat.dialects.embeddings import WholeVectors
from queuechat.dialects.message import likelihoods
from queuechat.dialects.ollama.order import inputs_of
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.schemas.ollama import OllamaEmbeddingsRequest, OllamaEmbedRequest
from queuechat.dialects.speech import ContentDelta, Part, Reader, ToolArguments, ToolStart
from queuechat.dialects.speech.parts import joined
from queuechat.protocol import Chunk, End, Logprob, Times

_NS = 1_000_000  # of a millisecond

Line = dict[str, Any]


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339, of now if not told."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def loaded(name: str, *, chat: bool) -> Line:
    """The answer to a request that asks for nothing: the model is there, it always is."""
    nothing = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
    return {"model": name, "created_at": timestamp(), **nothing, "done": True, "done_reason": "load"}


class Lines:
    """The lines of one answer, of a chat or (else) of a single prompt. A call is told when it is complete."""

    def __init__(self, order: Order, id: str, *, chat: bool):
        """`id` is that of the request whose answer this is."""
        self._order, self._chat = order, chat
        self._reader = Reader(order.manner, id)
        self._call: ToolStart | None = None
        self._arguments = ""
        self._likely: list[Logprob] = []
        self._end: End | None = None

    def feed(self, events: Sequence[tuple[int, Event]]) -> list[Line]:
        parts: list[Part] = []
        for _, event in events:
            if isinstance(event, Waiting):
                continue
            parts += self._reader.feed(event.text)
            if isinstance(event, End):
                parts += self._reader.finish()
                self._end = event
            elif isinstance(event, Chunk):
                self._likely += event.logprobs
        told = [line for part in joined(parts) for line in self._tell(part)]
        return told + (self._called() if self._end else [])

    def last(self, tally: Tally) -> Line:
        assert self._end
        line = self._line(content="", done=True)
        return line | {"done_reason": self._end.reason.value, **figures(self._end, tally)}

    def _tell(self, part: Part) -> list[Line]:
        if isinstance(part, ToolArguments):
            self._arguments += part.text
            return []
        before = self._called()
        if isinstance(part, ToolStart):
            self._call = part
            return before
        line = self._line(part.text) if isinstance(part, ContentDelta) else self._line(thinking=part.text)
        return [*before, line]

    def _called(self) -> list[Line]:
        """The call that is complete now; one whose arguments are no object stays text."""
        call, arguments = self._call, self._arguments
        self._call, self._arguments = None, ""
        if call is None:
            return []
        given = object_of(arguments)
        if given is None or not self._chat:
            return [self._line(content=as_text(call.name, arguments))]
        return [self._line(tool_calls=[shown(call, given)])]

    def _line(self, content: str = "", *, done: bool = False, **more: Any) -> Line:
        line: Line = {"model": self._order.name, "created_at": timestamp()}
        if self._chat:
            line["message"] = {"role": "assistant", "content": content, **more}
        else:
            line |= {"response": content, **more}
        fresh, self._likely = self._likely, []
        if fresh and self._order.showing.logprobs:
            line["logprobs"] = likelihoods(fresh)["content"]
        return line | {"done": done}


class WholeLine:
    """All lines of an answer as one."""

    def __init__(self, order: Order, id: str, *, chat: bool):
        self._lines = Lines(order, id, chat=chat)
        self._chat = chat
        self._told: list[Line] = []

    def add(self, index: int, event: Event) -> None:
        self._told += self._lines.feed([(index, event)])

    def body(self, id: str, tally: Tally) -> Line:
        last = self._lines.last(tally)
        told = [*self._told, last]
        said = [line["message"] if self._chat else line for line in told]
        field = "content" if self._chat else "response"
        whole = said[-1]
        whole[field] = "".join(one[field] for one in said)
        if thoughts := "".join(one.get("thinking", "") for one in said):
            whole["thinking"] = thoughts
        if calls := [call for one in said for call in one.get("tool_calls", [])]:
            whole["tool_calls"] = calls
        if likely := [entry for line in told for entry in line.get("logprobs", [])]:
            last["logprobs"] = likely
        return last


class WholeEmbeddings:
    """The vectors, in the form of /api/embed or the older one of /api/embeddings."""

    def __init__(self, asked: OllamaEmbedRequest | OllamaEmbeddingsRequest):
        self._asked = asked
        self._vectors = WholeVectors(inputs_of(asked))
        self._times = Times()

    def add(self, index: int, event: Event) -> None:
        self._vectors.add(index, event)
        if isinstance(event, End):
            self._times = event.times

    def body(self, id: str, tally: Tally) -> dict[str, Any]:
        rows = [row["embedding"] for row in self._vectors.body(id, tally)["data"]]
        if isinstance(self._asked, OllamaEmbeddingsRequest):
            return {"embedding": rows[0]}
        times = durations(self._times)
        return {
            "model": self._asked.model,
            "embeddings": rows,
            "total_duration": times["total_duration"],
            "load_duration": times["load_duration"],
            "prompt_eval_count": tally.prompt_tokens,
        }


def shown(call: ToolStart, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": call.id, "function": {"index": call.index, "name": call.name, "arguments": arguments}}


def figures(end: End, tally: Tally) -> dict[str, int]:
    """Tokens and nanoseconds."""
    times = durations(end.times)
    return {
        "total_duration": times["total_duration"],
        "load_duration": times["load_duration"],
        "prompt_eval_count": tally.prompt_tokens,
        "prompt_eval_duration": times["prompt_eval_duration"],
        "eval_count": tally.generated,
        "eval_duration": times["eval_duration"],
    }


def durations(times: Times) -> dict[str, int]:
    """Nanoseconds: in all, waiting in the queue (where Ollama loads the model), until the first token, after it."""
    first = times.first or times.ended
    return {
        "total_duration": (times.ended - times.queued) * _NS,
        "load_duration": (times.started - times.queued) * _NS,
        "prompt_eval_duration": (first - times.started) * _NS,
        "eval_duration": (times.ended - first) * _NS,
    }
