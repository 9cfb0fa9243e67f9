"""Parts of an answer that came apart already, as one text that a log can hold, and back.

A provider elsewhere tells content, thoughts and calls apart. Marks in the text keep them so: noncharacters of Unicode,
which are set aside for use within one program; where an answer has one, it becomes U+FFFD. So nothing that it says can
be taken for a mark, and every part comes out as it went in.
"""

from __future__ import annotations

import json
import re

from queuechat.dialects.speech.calls import call_id
from queuechat.dialects.speech.parts import (
    ContentDelta,
    Part,
    ReasoningDelta,
    RefusalDelta,
    ToolArguments,
    ToolStart,
    joined,
)

RELAYED = "relayed"  #: what `ModelCard.tool_format` and `Manner.tools` say of such answers

_CONTENT, _THOUGHT, _REFUSAL, _CALL, _NAME, _ARGUMENTS = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3", "\ufdd4", "\ufdd5"
_MARKS = (_CONTENT, _THOUGHT, _REFUSAL, _CALL, _NAME, _ARGUMENTS)
_SAID: dict[str, type[ContentDelta | ReasoningDelta]] = {
    _CONTENT: ContentDelta,
    _THOUGHT: ReasoningDelta,
    _REFUSAL: RefusalDelta,
}
_MARK = re.compile(f"[{_CONTENT}-{_ARGUMENTS}]")


def is_marked(text: str) -> bool:
    """Whether it has anything but content."""
    return _MARK.search(text) is not None


def unmarked(text: str) -> str:
    """The text without what could be taken for a mark."""
    return _MARK.sub("\ufffd", text)


class Marker:
    """Parts to text. A call that begins while the one before it is still being written waits: the arguments of calls
    follow one another."""

    def __init__(self) -> None:
        self._now = _CONTENT
        self._open: int | None = None  # the call whose arguments are being written
        self._arguments = ""
        self._waiting: dict[int, list[Part]] = {}

    def text(self, part: Part) -> str:
        match part:
            case ToolStart() | ToolArguments():
                return self._call(part)
            case RefusalDelta():
                return self._plain(_REFUSAL, part.text)
            case ContentDelta():
                return self._plain(_CONTENT, part.text)
            case ReasoningDelta():
                return self._plain(_THOUGHT, part.text)

    def finish(self) -> str:
        """What had to wait."""
        text = ""
        while self._waiting:
            text += self._next()
        return text

    def _plain(self, mark: str, text: str) -> str:
        before = self.finish()
        opened = "" if mark == self._now else mark
        self._now, self._open = mark, None
        return before + opened + unmarked(text)

    def _call(self, part: ToolStart | ToolArguments) -> str:
        if isinstance(part, ToolArguments) and part.index == self._open:
            return self._write(part)
        self._waiting.setdefault(part.index, []).append(part)
        return self._next() if self._open is None or _is_json(self._arguments) else ""

    def _next(self) -> str:
        """The first of the calls that wait, as far as it has come."""
        index = next(iter(self._waiting))
        return "".join(self._write(part) for part in self._waiting.pop(index))

    def _write(self, part: Part) -> str:
        if isinstance(part, ToolArguments):
            self._arguments += part.text
            return unmarked(part.text)
        assert isinstance(part, ToolStart)
        self._now, self._open, self._arguments = _ARGUMENTS, part.index, ""
        return _CALL + unmarked(part.id) + _NAME + unmarked(part.name) + _ARGUMENTS


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class Unmarker:
    """Text to parts, however it is cut. `id` is that of the job: of calls that came without an id it makes one. At most
    `most` calls are told, 0 is all."""

    def __init__(self, id: str, most: int = 0):
        self.count = 0
        self._id, self._most = id, most
        self._now = _CONTENT
        self._head = ""  # id of the call that begins, then its name
        self._called = ""

    def feed(self, text: str) -> list[Part]:
        parts: list[Part] = []
        for piece in re.split(f"({_MARK.pattern})", text):
            if piece in _MARKS:
                self._turn(piece, parts)
            elif piece:
                self._take(piece, parts)
        return joined(parts)

    def _turn(self, mark: str, parts: list[Part]) -> None:
        if mark == _NAME:
            self._called = self._head
        if mark == _ARGUMENTS:
            self.count += 1
            if not self._muted:
                index = self.count - 1
                parts.append(ToolStart(index, self._called or call_id(self._id, index), self._head))
        self._now, self._head = mark, ""

    def _take(self, text: str, parts: list[Part]) -> None:
        if self._now in (_CALL, _NAME):
            self._head += text
        elif self._now == _ARGUMENTS:
            if not self._muted:
                parts.append(ToolArguments(self.count - 1, text))
        else:
            parts.append(_SAID[self._now](text))

    @property
    def _muted(self) -> bool:
        return 0 < self._most < self.count


class Prose:
    """Such text to what a person reads: thoughts in a tag, a refusal as any words."""

    def __init__(self) -> None:
        self._parts = Unmarker("")
        self._thinks = False

    def feed(self, text: str) -> str:
        return "".join(self._told(part) for part in self._parts.feed(text))

    def _told(self, part: Part) -> str:
        thinks, before = isinstance(part, ReasoningDelta), self._thinks
        self._thinks = thinks
        words = part.name if isinstance(part, ToolStart) else part.text
        return ("" if thinks == before else "<think>" if thinks else "</think>\n\n") + words
