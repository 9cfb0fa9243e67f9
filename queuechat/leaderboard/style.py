"""Bradley-Terry with style as a second cause of votes: what a model is worth when its answers look like the other's.

P(a beats b) = 1 / (1 + exp(-(ln 10 (s_a - s_b) + x . c))), x being how much longer, more headed, listed and bold the
answers of a were; s is in units of 400 points of Elo. As in FastChat, a penalty of 0.25 (|s|^2 + |c|^2) is on all
parameters, so that there is always one best fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from queuechat.leaderboard.measures import Style
from queuechat.leaderboard.tally import Floats, Votes

PENALTY = 0.5
_LN10 = math.log(10)
_STEPS = 50
_CLOSE = 1e-6  # a Newton step of that size leaves an error of about its square
_HALVINGS = 40


def features(styles: Sequence[tuple[Style, Style]]) -> Floats:
    """[n, 4] (a - b) / (a + b + 1) of each count, brought to mean 0 and deviation 1; 0 where all votes agree."""
    a, b = (np.array([pair[side] for pair in styles], dtype=np.float64).reshape(-1, 4) for side in (0, 1))
    ratio = (a - b) / (a + b + 1)
    deviation = ratio.std(axis=0)
    made: Floats = (ratio - ratio.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return made


def fit_style(votes: Votes, x: Floats, weights: Floats | None = None, start: Floats | None = None) -> Floats:
    """[m + 4] strengths in natural logarithms (mean 0), then coefficients, for votes that count `weights` times.

    `start` is a fit to begin with, in the same units.
    """
    m = len(votes.models)
    unit = np.concatenate([np.full(m, _LN10), np.ones(x.shape[1])])
    weights = np.ones(len(votes)) if weights is None else weights
    at = np.zeros(len(unit)) if start is None else start / unit
    z = _logits(at, votes, x)
    loss = _loss(at, z, votes, weights)
    for _ in range(_STEPS):
        step = _step(at, z, votes, x, weights)
        for _ in range(_HALVINGS):
            z = _logits(at + step, votes, x)
            tried = _loss(at + step, z, votes, weights)
            if tried <= loss + 1e-12 * abs(loss):
                break
            step = step / 2
        at, loss = at + step, min(tried, loss)
        if np.abs(step).max(initial=0) < _CLOSE:
            break
    made: Floats = at * unit
    return made


def bootstrap_style(votes: Votes, x: Floats, centre: Floats, rounds: int, rng: np.random.Generator) -> Floats:
    """[rounds, m + 4] fits of votes drawn anew with replacement."""
    made = np.empty((rounds, len(centre)))
    for k in range(rounds):
        counts = np.bincount(rng.integers(len(votes), size=len(votes)), minlength=len(votes))
        drawn = counts > 0
        some = Votes(votes.models, votes.a[drawn], votes.b[drawn], votes.score[drawn])
        made[k] = fit_style(some, x[drawn], counts[drawn].astype(np.float64), centre)
    return made


def _logits(at: Floats, votes: Votes, x: Floats) -> Floats:
    m = len(votes.models)
    made: Floats = _LN10 * (at[votes.a] - at[votes.b]) + x @ at[m:]
    return made


def _loss(at: Floats, z: Floats, votes: Votes, weights: Floats) -> float:
    surprise = np.logaddexp(0, -z) + (1 - votes.score) * z
    return float(weights @ surprise + PENALTY / 2 * at @ at)


def _step(at: Floats, z: Floats, votes: Votes, x: Floats, weights: Floats) -> Floats:
    """Newton's, from the gradient and the Hessian of the loss; `z` are the logits at `at`."""
    m, a, b = len(votes.models), votes.a, votes.b
    chance = 1 / (1 + np.exp(-z))
    missed, bend = weights * (votes.score - chance), weights * chance * (1 - chance)
    gradient = np.concatenate([_LN10 * _by_model(missed, votes), missed @ x]) - PENALTY * at
    met = np.bincount(a * m + b, bend, m * m).reshape(m, m)
    met = met + met.T
    hessian = np.empty((len(at), len(at)))
    hessian[:m, :m] = _LN10**2 * (np.diag(met.sum(axis=1)) - met)
    hessian[:m, m:] = _LN10 * np.stack([_by_model(bend * column, votes) for column in x.T], axis=1)
    hessian[m:, :m] = hessian[:m, m:].T
    hessian[m:, m:] = (x * bend[:, None]).T @ x
    hessian[np.arange(len(at)), np.arange(len(at))] += PENALTY
    return np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)


def _by_model(values: Floats, votes: Votes) -> Floats:
    m = len(votes.models)
    return np.asarray(np.bincount(votes.a, values, m) - np.bincount(votes.b, values, m), dtype=np.float64)
