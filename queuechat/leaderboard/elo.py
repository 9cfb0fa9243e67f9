"""Elo's rating, vote after vote. It depends on their order; it is there for comparison, ranks are Bradley-Terry's."""

from __future__ import annotations

import numpy as np

from queuechat.leaderboard.scale import SCALE, START
from queuechat.leaderboard.tally import Floats, Votes

K = 4.0


def online_elo(votes: Votes, k: float = K) -> Floats:
    """[m] ratings after all votes in their order: r += k (points - 1 / (1 + 10 ** ((r_other - r) / 400)))."""
    ratings = [START] * len(votes.models)
    for a, b, score in zip(votes.a.tolist(), votes.b.tolist(), votes.score.tolist(), strict=True):
        change = k * (score - 1 / (1 + 10 ** ((ratings[b] - ratings[a]) / SCALE)))
        ratings[a] += change
        ratings[b] -= change
    return np.array(ratings)
