"""Battles as arrays: who met whom, and how often it ended how. What ratings need to know of a vote is no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from queuechat.leaderboard.battles import CleanBattle

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Votes:
    """n votes over m models, in the order of the battles: [n] places of both models, [n] points of `a`: 1, 0.5 or 0."""

    models: tuple[str, ...]
    a: Ints
    b: Ints
    score: Floats

    def __len__(self) -> int:
        return len(self.score)

    def among(self, members: Ints) -> tuple[Votes, Bools]:
        """The votes between these models alone, and [n] which ones they are."""
        place = np.full(len(self.models), -1)
        place[members] = np.arange(len(members))
        kept = (place[self.a] >= 0) & (place[self.b] >= 0)
        names = tuple(self.models[k] for k in members)
        return Votes(names, place[self.a[kept]], place[self.b[kept]], self.score[kept]), kept


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes by outcome: [c] cells (i < j, points of i) and how many votes are in each; [p] where each pair begins.

    Two votes of one cell are the same to a rating, so resampling votes is drawing new counts for the cells.
    """

    models: tuple[str, ...]
    first: Ints
    second: Ints
    score: Floats
    count: Ints
    starts: Ints

    @property
    def votes(self) -> int:
        return int(self.count.sum())

    def points(self, counts: Floats | Ints) -> Floats:
        """[b, m, m] points of row against column, for [b, c] counts; a tie is half a point for both."""
        m = len(self.models)
        made = np.zeros((len(counts), m, m))
        i, j = self.first[self.starts], self.second[self.starts]
        won = np.add.reduceat(counts * self.score, self.starts, axis=1)
        made[:, i, j] = won
        made[:, j, i] = np.add.reduceat(counts, self.starts, axis=1) - won
        return made

    def meetings(self) -> list[tuple[int, int, int, int, int]]:
        """For each pair that met: i, j, wins of i, ties, wins of j."""
        made = []
        for k, end in zip(self.starts, [*self.starts[1:], len(self.count)], strict=True):
            wins, ties, losses = (self._count(k, end, score) for score in (1.0, 0.5, 0.0))
            made.append((int(self.first[k]), int(self.second[k]), wins, ties, losses))
        return made

    def _count(self, start: int, end: int, score: float) -> int:
        return int(self.count[start:end][self.score[start:end] == score].sum())


def votes_of(battles: Sequence[CleanBattle]) -> Votes:
    """The models are in the order of their names."""
    names = sorted({name for battle in battles for name in (battle.model_a, battle.model_b)})
    place = {name: k for k, name in enumerate(names)}
    return Votes(
        tuple(names),
        np.array([place[battle.model_a] for battle in battles], dtype=np.int64),
        np.array([place[battle.model_b] for battle in battles], dtype=np.int64),
        np.array([battle.score for battle in battles]),
    )


def tally_of(votes: Votes) -> Tally:
    """Which of both was shown on the left is forgotten."""
    m, turned = len(votes.models), votes.a > votes.b
    first, second = np.where(turned, votes.b, votes.a), np.where(turned, votes.a, votes.b)
    halves = np.rint(2 * np.where(turned, 1 - votes.score, votes.score)).astype(np.int64)
    cells, count = np.unique((first * m + second) * 3 + halves, return_counts=True)
    _, starts = np.unique(cells // 3, return_index=True)
    return Tally(votes.models, cells // 3 // m, cells // 3 % m, cells % 3 / 2, count, starts)
