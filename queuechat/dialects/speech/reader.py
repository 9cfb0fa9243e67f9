"""An answer as its parts, while its text still comes."""

from __future__ import annotations

from queuechat.dialects.speech.calls import Calls
from queuechat.dialects.speech.manner import Manner
from queuechat.dialects.speech.parts import ContentDelta, Part, ReasoningDelta, joined
from queuechat.dialects.speech.relayed import RELAYED, Unmarker
from queuechat.dialects.speech.thinking import Thinking


class Reader:
    """Feed it all text of one answer in order, then `finish` once. However the text was cut, the parts are the same
    but for where deltas are. Nothing is lost: what only looked like a tag or a call is content."""

    def __init__(self, manner: Manner, id: str):
        """`id` is that of the job; the ids of calls come from it."""
        self._thinking = Thinking(manner.reasoning) if manner.reasoning else None
        self._relayed = Unmarker(id, manner.most) if manner.tools == RELAYED else None
        self._calls = Calls(manner, id) if manner.tools and not self._relayed else None

    @property
    def called(self) -> bool:
        """Whether there was a call until now: an answer that then stops by itself waits for its result."""
        calls = self._relayed or self._calls
        return calls is not None and calls.count > 0

    def feed(self, text: str) -> list[Part]:
        if self._relayed is not None:
            return self._relayed.feed(text)
        if self._thinking is None:
            return self._said(text)
        return self._sorted(self._thinking.feed(text))

    def finish(self) -> list[Part]:
        """What was held back."""
        parts = self._sorted(self._thinking.finish()) if self._thinking else []
        return joined(parts + self._calls.finish()) if self._calls else parts

    def _sorted(self, pieces: list[tuple[bool, str]]) -> list[Part]:
        parts: list[Part] = []
        for thought, text in pieces:
            parts += [ReasoningDelta(text)] if thought else self._said(text)
        return parts

    def _said(self, text: str) -> list[Part]:
        if self._calls is not None:
            return self._calls.feed(text)
        return [ContentDelta(text)] if text else []
