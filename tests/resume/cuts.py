"""An answer cut after k tokens and taken over by another worker, against the answer that nothing disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.resume.cases import Case
from tests.resume.worker import Answer, Worker


@dataclass(frozen=True)
class Whole:
    """A case, its undisturbed answer, and what of it is published after each token."""

    case: Case
    answer: Answer
    published: Answer

    @property
    def cuts(self) -> range:
        return range(len(self.answer.ids) + 1)


@dataclass(frozen=True)
class Difference:
    """Where a resumed answer parts from the undisturbed one. `place` is in tokens, for ids; -1 where it is not ids."""

    case: str
    cut: int
    what: str
    place: int
    expected: str
    got: str


async def whole(worker: Worker, case: Case) -> Whole:
    answer = await worker.answer(case.job)
    return Whole(case, answer, worker.published(case.job, answer.ids))


async def taken_over(worker: Worker, before: Whole, cut: int) -> list[Difference]:
    """Ids, text, hash and end of the cut answer, each where it is not the same."""
    ids = before.answer.ids
    after = await worker.answer(before.case.job, ids[:cut], before.published.hashes[cut])
    return compare(before, cut, after)


def compare(before: Whole, cut: int, after: Answer) -> list[Difference]:
    whole, ids = before.answer, [*before.answer.ids[:cut], *after.ids]
    found = []
    if ids != whole.ids:
        place = _parting(whole.ids, ids)
        found.append(Difference(before.case.name, cut, "ids", place, str(whole.ids[place:][:1]), str(ids[place:][:1])))
    facets = {
        "text": (whole.text, before.published.texts[cut] + after.text),
        "reason": (whole.end.reason, after.end.reason),
        "offset": (whole.end.offset, after.end.offset),
        "hash": (whole.hashes[-1], after.hashes[-1]),
    }
    for what, (expected, got) in facets.items():
        if expected != got:
            found.append(Difference(before.case.name, cut, what, -1, repr(expected), repr(got)))
    return found


def _parting(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
