"""What is said of tokens: how likely those of an answer were, a hash of them all, and what a prompt is to a model."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_LOGPROBS = 20  # alternatives of a token

Want = Literal["count", "tokens", "pieces", "text"]


@dataclass(frozen=True, slots=True)
class Logprob:
    """How likely the model found one token (natural logarithm), before temperature, bias, penalties and grammar.

    Tokens are bytes, since one may be half a UTF-8 character. `top` are the likeliest at this place, best first,
    whether taken or not. `logprob` is None where an engine does not tell it.
    """

    token: bytes
    logprob: float | None
    top: list[tuple[bytes, float]] = field(default_factory=list)

    def pack(self) -> list[Any]:
        """For JSON, which has no bytes: a letter U+0000 to U+00FF for each."""
        top = [[token.decode("latin-1"), logprob] for token, logprob in self.top]
        return [self.token.decode("latin-1"), self.logprob, top]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Logprob:
        token, logprob, top = packed
        return cls(token.encode("latin-1"), logprob, [(other.encode("latin-1"), value) for other, value in top])


class PrefixHash:
    """The hash of all token ids so far (BLAKE2b, 8 bytes, hex): equal ids, equal hash, however they were chunked."""

    def __init__(self) -> None:
        self._state = hashlib.blake2b(digest_size=8)
        self.value = ""

    def copy(self) -> PrefixHash:
        """One that goes on from here on its own."""
        other = PrefixHash()
        other._state, other.value = self._state.copy(), self.value
        return other

    def update(self, ids: Sequence[int]) -> str:
        self._state.update(struct.pack(f"<{len(ids)}I", *ids))
        self.value = self._state.hexdigest()
        return self.value


MAX_READ = 1 << 18  #: tokens that may be told one by one: more are no message that pub/sub carries to all who listen
MAX_READ_BYTES = 4 << 20  #: of a text, for the same reason


@dataclass(frozen=True, slots=True)
class Read:
    """What a prompt is to the model. `pieces` are the texts of the ids one by one, `text` that of all; only what was
    wanted is there."""

    count: int
    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    text: str = ""
