"""One streamed answer, as it comes in: when each chunk came, what the server counted, how it ended."""

from __future__ import annotations

from array import array
from typing import Any

import orjson

_ERROR_BYTES = 1 << 16  # of an error's body
_KEPT_BYTES = 1 << 16  # of an answer that are not looked at yet
_TEXTS = ("content", "reasoning_content", "reasoning")


class Reading:
    """Fed with the bytes of an answer and the moment they came (seconds of one monotonic clock).

    A chunk is a data frame that carries text, thoughts or a tool call; it may hold several tokens. The frame that only
    opens a stream, and the last one, are none.
    """

    def __init__(self, due: float) -> None:
        self.due = due  #: when it should have been sent
        self.sent = due
        self.times = array("d")
        self.ended = 0.0  #: when the last data frame came
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.finish_reason: str | None = None
        self.failure: str | None = None  #: the kind of error, in a few words
        self.status = 0
        self._kept: list[tuple[bytes, float]] = []
        self._size = 0  # of all that is kept
        self._rest = b""
        self._done = False

    def begin(self, status: int) -> None:
        self.status = status

    def feed(self, data: bytes, at: float) -> None:
        """Keep it for the end, or until there is much: what is computed meanwhile slows down a server beside us."""
        self._kept.append((data, at))
        self._size += len(data)
        if self._size > _KEPT_BYTES:
            self._look()

    def _look(self) -> None:
        for data, at in self._kept:
            self._read(data, at)
        self._kept, self._size = [], 0

    def _read(self, data: bytes, at: float) -> None:
        if self.status != 200:
            self._rest = (self._rest + data)[:_ERROR_BYTES]
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._hear(line[5:].strip(), at)

    def end(self) -> None:
        """The body is over, or the connection. What was told is known from then on."""
        self._look()
        self._done = self._done or self._rest.strip() == b"data: [DONE]"  # of servers that leave out the last newline
        if self.failure is None and self.status != 200:
            self.failure = f"HTTP {self.status} {_code(self._rest)}".rstrip() if self.status else "no answer"
        elif self.failure is None and not (self._done or self.finish_reason):
            self.failure = "the stream broke off"
        elif self.failure is None and not self.times:
            self.failure = "an answer without any token"

    @property
    def good(self) -> bool:
        return self.failure is None

    @property
    def output_tokens(self) -> int:
        """As the server counted them, else chunks."""
        return len(self.times) if self.completion_tokens is None else self.completion_tokens

    def chunk(self, text: str, at: float) -> None:
        """What to do with each chunk."""
        self.times.append(at)

    def _hear(self, payload: bytes, at: float) -> None:
        if payload == b"[DONE]":
            self._done = True
            return
        self.ended = at
        try:
            frame = orjson.loads(payload)
        except orjson.JSONDecodeError:
            self.failure = "a frame that is not JSON"
            return
        if not isinstance(frame, dict) or frame.get("error"):
            self.failure = f"error in the stream {_code(payload)}".rstrip()
            return
        for choice in frame.get("choices") or ():
            if text := _text(choice):
                self.chunk(text, at)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if usage := frame.get("usage"):
            self.prompt_tokens = usage.get("prompt_tokens")
            self.completion_tokens = usage.get("completion_tokens")


def _text(choice: dict[str, Any]) -> str:
    if text := choice.get("text"):
        return str(text)
    delta = choice.get("delta") or {}
    for name in _TEXTS:
        if delta.get(name):
            return str(delta[name])
    return "…" if delta.get("tool_calls") else ""


def _code(body: bytes) -> str:
    """The code of an error in OpenAI's form, or its type; empty when it has another form."""
    try:
        error = orjson.loads(body)["error"]
        return str(error.get("code") or error.get("type") or "")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ""
