"""The vocabulary of those who read and write text: its ids are the bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Self

SIZE = 256


class ByteVocabulary:
    """Any text has ids, and any ids have a text; nothing ends an answer."""

    eos_ids: frozenset[int] = frozenset()
    chat_template: str | None = None
    waits = False

    def __init__(self) -> None:
        self.special_tokens: dict[str, str] = {}

    def __len__(self) -> int:
        return SIZE

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return list(text.encode(errors="replace"))

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def keeping(self, words: Collection[str]) -> Self:
        return self

    def id_of(self, token: str) -> int | None:
        return None

    def bytes_of(self, id: int) -> bytes:
        return bytes([id])
