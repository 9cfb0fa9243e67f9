"""Token ids to text as they come: whole characters, no stop string, and the same however the ids were cut in pushes.

Text is settled token by token: what a token adds is the text of a short window of ids before it together with it,
less the text of the window (tokenizers decode a token differently at the start of a text). What ends in U+FFFD may be
half a character and waits. This is the scheme of text-generation-inference and vLLM; the rest is ours: a push is
taken whole where nothing can happen in it, and is halved where something does, so that many ids cost about as much as
few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_HALF = "\ufffd"
#: A character has at most 4 bytes, so of 8 ids that do not settle, the first 4 are no part of one to come.
_PATIENCE = 8
_KEPT = 4


class Decoder(Protocol):
    """The part of a `Vocabulary` that is needed here."""

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True, slots=True)
class Delta:
    """What a push added: text that is final, how many of its ids count, and whether the answer ends there."""

    text: str
    taken: int
    stopped: bool


class Transcript:
    """The text of one answer. `stop` strings never appear in it, nor does what follows one; `stop_ids` end it too, and
    so do `ends`, which are the model's own: none of these is told as `met`.

    `opening` is the beginning of the answer that stands in the prompt: the first text that is told starts with it.
    """

    def __init__(
        self,
        vocabulary: Decoder,
        *,
        stop: Sequence[str] = (),
        ends: Sequence[str] = (),
        stop_ids: frozenset[int] = frozenset(),
        opening: str = "",
    ):
        self.met = ""  #: the one of `stop` that ended it
        self._opening = opening
        self._decode = vocabulary.decode
        self._stop = [word for word in (*stop, *ends) if word]
        self._asked = frozenset(stop)
        self._stop_ids = stop_ids
        self._context: list[int] = []  # last settled ids: a decode that starts with them shows what the next ones add
        self._context_text = ""
        self._pending: list[int] = []  # not settled yet
        self._held = ""  # settled, but maybe the beginning of a stop string
        self._stopped = False
        self._cut = False

    @property
    def looks_for_words(self) -> bool:
        """Whether a word may end the text, which is found as it is pushed."""
        return bool(self._stop)

    def push(self, ids: Sequence[int]) -> Delta:
        """Take ids that follow those pushed before.

        Where a stop string is completed by ids[k], `taken` is k + 1 and the text ends before it; the earliest stop
        string wins. A stop id is taken as well, without its text; `finish` then has what was held back.
        """
        if self._stopped:
            return Delta("", 0, True)
        stops = not self._stop_ids.isdisjoint(ids)
        end = next(k for k, id in enumerate(ids) if id in self._stop_ids) if stops else None
        text, taken = self._take(list(ids[:end]))
        if end is not None and not self._stopped:
            self._stopped = True
            taken += 1
        text, self._opening = self._opening + text, ""
        return Delta(text, taken, self._stopped)

    def finish(self) -> str:
        """What was held back, once, when no stop string ended the answer. Half a character becomes U+FFFD."""
        text = "" if self._cut else self._held + self._added(self._pending)
        self._stopped = self._cut = True
        place = self._place(text)
        return text if place is None else self._cut_at(text, place)

    def _take(self, ids: list[int]) -> tuple[str, int]:
        """Text and count of the ids that are taken: all, unless a stop string ends it."""
        if not ids:
            return "", 0
        if len(ids) > 1 and self._eventful(ids):
            middle = len(ids) // 2
            text, taken = self._take(ids[:middle])
            if self._stopped:
                return text, taken
            more, rest = self._take(ids[middle:])
            return text + more, taken + rest
        return self._release(self._settle(ids)), len(ids)

    def _eventful(self, ids: list[int]) -> bool:
        """Would it matter after which of the ids something happens?"""
        text = self._added(self._pending + ids)
        return _HALF in text or self._place(self._held + text) is not None

    def _settle(self, ids: list[int]) -> str:
        """The text that the ids make final."""
        settled, self._pending = self._pending + ids, []
        text = self._added(settled)
        if not text or text.endswith(_HALF):
            if len(settled) < _PATIENCE:
                self._pending = settled
                return ""
            settled, self._pending = settled[:-_KEPT], settled[-_KEPT:]
            text = self._added(settled)
        if text:
            self._remember(settled)
        return text

    def _remember(self, settled: list[int]) -> None:
        """Keep the shortest clean end of what was settled, so that the context does not depend on the pushes."""
        for length in range(1, min(len(settled), _PATIENCE) + 1):
            text = self._decode(settled[-length:])
            if text and _HALF not in text:
                break
        self._context, self._context_text = settled[-length:], text

    def _added(self, ids: list[int]) -> str:
        return self._decode(self._context + ids)[len(self._context_text) :] if ids else ""

    def _release(self, text: str) -> str:
        """Of what is held and new, all but the beginning of a possible stop string; up to it, if it is complete."""
        if not text or not self._stop:
            return text
        text = self._held + text
        place = self._place(text)
        if place is not None:
            self._stopped = self._cut = True
            return self._cut_at(text, place)
        place = len(text) - max(_overlap(text, word) for word in self._stop)
        self._held = text[place:]
        return text[:place]

    def _place(self, text: str) -> int | None:
        """Where the earliest stop string begins."""
        places = [place for word in self._stop if (place := text.find(word)) >= 0]
        return min(places, default=None)

    def _cut_at(self, text: str, place: int) -> str:
        """The text before the stop string there."""
        met = next(word for word in self._stop if text.startswith(word, place))
        self.met = met if met in self._asked else ""
        return text[:place]


def _overlap(text: str, word: str) -> int:
    """Length of the longest end of `text` that is a beginning of `word`, but not the whole word."""
    start = max(0, len(text) - len(word) + 1)
    while (start := text.find(word[0], start)) >= 0:
        if word.startswith(text[start:]):
            return len(text) - start
        start += 1
    return 0
