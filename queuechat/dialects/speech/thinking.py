"""Thoughts apart from the answer: what stands in a tag at the very beginning."""

from __future__ import annotations

from queuechat.dialects.speech.manner import tags


class Thinking:
    """Splits text as it comes. Whitespace around the tags is nobody's and dropped.

    Only a tag before all other text opens thoughts: an answer may well talk about tags. Thoughts that are never
    closed stay thoughts.
    """

    def __init__(self, tag: str):
        self._open, self._close = tags(tag)
        self._text = ""  # not told yet
        self._stage = self._before
        self._told: list[tuple[bool, str]] = []

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """Pieces as (is it a thought?, text)."""
        self._text += text
        while self._stage():
            pass
        told, self._told = self._told, []
        return told

    def finish(self) -> list[tuple[bool, str]]:
        """What was held back."""
        text, self._text = self._text, ""
        if not text or self._stage == self._after:
            return []
        return [(self._stage in (self._begin, self._inside), text)]

    def _before(self) -> bool:
        start = self._text.lstrip()
        if start.startswith(self._open):
            self._text = start[len(self._open) :]
            self._stage = self._begin
            return True
        if self._open.startswith(start):
            return False
        self._stage = self._answer
        return True

    def _begin(self) -> bool:
        self._text = self._text.lstrip()
        if self._text:
            self._stage = self._inside
        return bool(self._text)

    def _inside(self) -> bool:
        thought, closed, rest = self._text.partition(self._close)
        if closed:
            self._tell(True, thought.rstrip())
            self._text, self._stage = rest, self._after
            return True
        sure = self._text[: len(self._text) - overlap(self._text, self._close)].rstrip()
        self._tell(True, sure)
        self._text = self._text[len(sure) :]
        return False

    def _after(self) -> bool:
        self._text = self._text.lstrip()
        if self._text:
            self._stage = self._answer
        return bool(self._text)

    def _answer(self) -> bool:
        self._tell(False, self._text)
        self._text = ""
        return False

    def _tell(self, thought: bool, text: str) -> None:
        if text:
            self._told.append((thought, text))


def overlap(text: str, word: str) -> int:
    """Length of the longest end of `text` that is a beginning of `word`, but not the whole word."""
    longest = min(len(text), len(word) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(word[:size])), 0)
