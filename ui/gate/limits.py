"""How much may be asked, told before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from queuechat.errors import InvalidRequest
from ui.gate.passages import Passage

_NEW = "begin a new one"


@dataclass(frozen=True, slots=True)
class Limits:
    """Characters of a question and of a whole conversation with its system prompt, questions of a conversation; 0 is
    any number."""

    question: int = 0
    conversation: int = 0
    turns: int = 0

    def check(self, said: Sequence[Passage]) -> None:
        """Raises InvalidRequest for what is too long."""
        last, turns = _length(said[-1:]), sum(passage.role == "user" for passage in said)
        if 0 < self.question < last:
            raise _too_long(f"your question has {last:,} characters and may have {self.question:,}", "shorten it")
        if 0 < self.turns < turns:
            raise _too_long(f"this conversation has had its {self.turns:,} questions", _NEW)
        if 0 < self.conversation < (whole := _length(said)):
            raise _too_long(f"this conversation has {whole:,} characters and may have {self.conversation:,}", _NEW)


def _length(said: Sequence[Passage]) -> int:
    return sum(len(passage.text) for passage in said)


def _too_long(what: str, do: str) -> InvalidRequest:
    return InvalidRequest(f"{what[0].upper()}{what[1:]}: {do}", param="messages")
