"""Elo's scale, intervals and ranks: from strengths in natural logarithms to what people read."""

from __future__ import annotations

import math

import numpy as np

from queuechat.leaderboard.tally import Floats, Ints

SCALE = 400.0  #: points by which one wins ten times as often as one loses
START = 1000.0  #: the mean
UNIT = SCALE / math.log(10)  #: points of a strength of 1


def interval(samples: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """[m] lower and upper ends, by percentiles of [rounds, m] strengths.

    A round that says nothing about a model (nan) counts as below its lower and above its upper end.
    """
    tail = (1 - confidence) / 2
    lower = np.quantile(np.where(np.isnan(samples), -np.inf, samples), tail, axis=0, method="lower")
    upper = np.quantile(np.where(np.isnan(samples), np.inf, samples), 1 - tail, axis=0, method="higher")
    return lower, upper


def ranks(lower: Floats, upper: Floats) -> Ints:
    """[m] 1 + the models whose lower end is above one's upper end."""
    made: Ints = 1 + (lower[None, :] > upper[:, None]).sum(axis=1)
    return made
