"""Battles between models of known strengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from queuechat.leaderboard.battles import CleanBattle, Winner
from queuechat.leaderboard.tally import Floats, Votes


def votes_between(strengths: Floats, count: int, rng: np.random.Generator, ties: float = 0.0) -> Votes:
    """Random pairs. A share of `ties` is drawn whoever is better: points follow Bradley-Terry only without them."""
    r, m = strengths, len(strengths)
    a = rng.integers(m, size=count)
    b = (a + rng.integers(1, m, size=count)) % m
    score = (rng.random(count) < 1 / (1 + np.exp(r[b] - r[a]))).astype(np.float64)
    score[rng.random(count) < ties] = 0.5
    return Votes(tuple(f"m{k:02}" for k in range(m)), a, b, score)


def spread(m: int, points: float = 300) -> Floats:
    """Strengths in natural logarithms with mean 0, evenly over so many points of Elo."""
    made: Floats = np.linspace(-points / 2, points / 2, m) * math.log(10) / 400
    return made


def battle(a: str, b: str, winner: Winner = Winner.A, judge: str = "ann", at: float = 0.0, **more: Any) -> CleanBattle:
    return CleanBattle(a, b, winner, judge, True, at, **more)


def battles_of(votes: Votes, judges: Sequence[str] = ("ann",)) -> list[CleanBattle]:
    """The same as battles, a second apart, by these judges in turn."""
    words = {1.0: Winner.A, 0.5: Winner.TIE, 0.0: Winner.B}
    return [
        battle(votes.models[a], votes.models[b], words[score], judges[k % len(judges)], at=float(k))
        for k, (a, b, score) in enumerate(zip(votes.a.tolist(), votes.b.tolist(), votes.score.tolist(), strict=True))
    ]
