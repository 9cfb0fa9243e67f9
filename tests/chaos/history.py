"""What every client was told, and whether it may have been.

The judge knows only what clients saw and the undisturbed answer: no gap, no repeat, nothing that the reference does not
say, one end, and that at the right place.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.chaos.questions import Catalogue, Question


@dataclass(frozen=True, slots=True)
class Piece:
    """One event as it arrived. `offset` is -1 and `ids` empty where the protocol brings only text."""

    offset: int
    ids: Sequence[int]
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Ending:
    """The last word of an answer; `offset` is -1 where the protocol does not tell."""

    reason: str
    offset: int
    text: str
    at: float


@dataclass(slots=True)
class Reading:
    """One uninterrupted look at an answer, from token `start` on."""

    job: str
    start: int = 0
    pieces: list[Piece] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    late: int = 0  # pieces after the end

    def hear(self, text: str, offset: int = -1, ids: Sequence[int] = ()) -> None:
        self.late += bool(self.endings)
        self.pieces.append(Piece(offset, ids, text, time.monotonic()))

    def end(self, reason: str, text: str = "", offset: int = -1) -> None:
        self.endings.append(Ending(reason, offset, text, time.monotonic()))

    def arrivals(self) -> Iterator[float]:
        yield from (piece.at for piece in self.pieces)
        yield from (ending.at for ending in self.endings)

    @property
    def text(self) -> str:
        return "".join(p.text for p in self.pieces) + "".join(e.text for e in self.endings)

    @property
    def ids(self) -> list[int]:
        return list(itertools.chain.from_iterable(p.ids for p in self.pieces))

    @property
    def next(self) -> int:
        """The offset after the last token, as far as the protocol tells."""
        last = self.pieces[-1] if self.pieces else None
        return last.offset + len(last.ids) if last and last.offset >= 0 else self.start


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault that struck the process which ran this request just then."""

    kind: str
    at: float


@dataclass(slots=True, eq=False)
class Request:
    """One question from its first try to its end, whoever brought it and however often it had to be asked."""

    question: Question
    by: str
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    readings: list[Reading] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)  # what made it ask or read again
    lost: str = ""  # why its client gave up

    def read(self, job: str, start: int = 0) -> Reading:
        """Another look begins."""
        reading = Reading(job, start)
        self.readings.append(reading)
        return reading

    @property
    def jobs(self) -> list[str]:
        return list(dict.fromkeys(reading.job for reading in self.readings))

    @property
    def ids(self) -> list[int]:
        """All ids so far, of a client that resumes."""
        return [id for reading in self.readings for id in reading.ids]

    def arrivals(self) -> list[float]:
        return sorted(at for reading in self.readings for at in reading.arrivals())


def judge(request: Request, catalogue: Catalogue) -> list[str]:
    """Everything that is wrong with what this client was told; nothing when all is well."""
    faults = [f"its client gave up: {request.lost}"] if request.lost else []
    if not request.readings:
        return faults or ["it was never answered"]
    if len(request.jobs) > 1:
        faults.append(f"it was answered by {len(request.jobs)} jobs")
    delivered = 0
    for reading in request.readings:
        faults += _misread(reading, request.question, catalogue)
        if reading.start not in (0, delivered):
            faults.append(f"read on from {reading.start} after {delivered} tokens")
        delivered = max(delivered, reading.next)
    faults += _contradictions(request.readings)
    return faults + list(_endings(request))


def _misread(reading: Reading, question: Question, catalogue: Catalogue) -> Iterator[str]:
    reference, at = catalogue.answer(question), reading.start
    for piece in reading.pieces:
        if piece.offset >= 0:
            if piece.offset != at:
                yield f"a {'gap' if piece.offset > at else 'repeat'}: token {piece.offset} came where {at} was due"
            at = piece.offset + len(piece.ids)
            if list(piece.ids) != reference[piece.offset : at]:
                yield f"tokens [{piece.offset}, {at}) are not those of the reference"
    spelled = catalogue.spell(reference[reading.start :])
    if not spelled.startswith(reading.text):
        yield f"the text is not the reference's: {_difference(reading.text, spelled)}"
    elif reading.endings and reading.text != spelled:
        yield f"the text ends after {len(reading.text)} of {len(spelled)} characters"
    if reading.late:
        yield f"{reading.late} pieces came after the end"


def _contradictions(readings: Sequence[Reading]) -> Iterator[str]:
    """What was delivered once must come again exactly when it is read again from the beginning."""
    whole = [reading.text for reading in readings if reading.start == 0]
    for before, after in itertools.pairwise(whole):
        if not after.startswith(before) and not before.startswith(after):
            yield f"read again, it says something else: {_difference(before, after)}"


def _endings(request: Request) -> Iterator[str]:
    endings = [ending for reading in request.readings for ending in reading.endings]
    if len(endings) != 1:
        yield f"it ended {len(endings)} times"
    if any(reading.endings for reading in request.readings[:-1]):
        yield "it was read on after its end"
    for ending in endings:
        if ending.reason != "length":
            yield f"it ended with {ending.reason!r}"
        if ending.offset not in (-1, request.question.tokens):
            yield f"it ended at {ending.offset} of {request.question.tokens} tokens"


def _difference(one: str, other: str) -> str:
    at = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"at character {at} {one[at : at + 24]!r} instead of {other[at : at + 24]!r}"


def pauses(request: Request, interval_s: float) -> Iterator[tuple[str, float]]:
    """For each hit its kind and how much longer than usual the next token took; a gap counts once."""
    arrivals = request.arrivals()
    gaps = list(itertools.pairwise(arrivals))
    seen: set[tuple[float, float]] = set()
    for hit in request.hits:
        # What was under way when the fault struck still arrives, so the gap may begin a little after it.
        around = [(a, b) for a, b in gaps if a < hit.at + 0.1 and b > hit.at]
        gap = max(around, key=lambda ab: ab[1] - ab[0], default=None)
        if gap and gap not in seen:
            seen.add(gap)
            yield hit.kind, max(gap[1] - gap[0] - interval_s, 0.0)


class History:
    """All requests of a run: those under way, and what became of the others."""

    def __init__(self, catalogue: Catalogue, *, interval_s: float = 0.0):
        self._catalogue, self._interval_s = catalogue, interval_s
        self.open: dict[str, Request] = {}
        self.faulty: list[tuple[Request, list[str]]] = []
        self.billed: dict[str, int] = {}  # job: tokens that its reader has, so that must be its bill
        self.pauses: dict[str, list[float]] = {}
        self.tries: Counter[str] = Counter()
        self.by: Counter[str] = Counter()
        self.answered = self.tokens = 0

    def begin(self, question: Question, by: str) -> Request:
        request = Request(question, by)
        self.open[request.key] = request
        return request

    def settle(self, request: Request) -> None:
        """It is over: judge it. Only what is wrong is kept whole."""
        del self.open[request.key]
        self.tries += request.tries
        self.by[request.by] += 1
        for kind, pause in pauses(request, self._interval_s):
            self.pauses.setdefault(kind, []).append(pause)
        if faults := judge(request, self._catalogue):
            self.faulty.append((request, faults))
            return
        self.answered += 1
        self.tokens += request.question.tokens
        self.billed[request.jobs[0]] = request.question.tokens

    def faults(self) -> list[str]:
        """One line for each thing that is wrong."""
        wrong = [f"{r.by} {r.key} ({r.jobs}): {what}" for r, faults in self.faulty for what in faults]
        return wrong + [f"{r.by} {r.key}: it is not over" for r in self.open.values()]
