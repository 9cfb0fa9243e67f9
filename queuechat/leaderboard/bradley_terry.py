"""Bradley-Terry strengths by maximum likelihood: P(i beats j) = 1 / (1 + exp(r_j - r_i)).

A tie is half a win for both. The likelihood has a maximum, and only one, where every model can be reached from every
other by a chain of wins or ties (Ford 1957). Where that is not so, only the largest such group is rated; a model that
cannot be reached from it has strength +inf, one that it cannot reach from there -inf, one that is neither nan.
All is in natural logarithms and done for many tables of points at once.
"""

from __future__ import annotations

import numpy as np

from queuechat.leaderboard.tally import Bools, Floats, Ints, Tally

_STEPS = 100
_CLOSE = 1e-9
_HALVINGS = 40
_ROOM = 1 << 22  # numbers in one array of a batch


def fit(points: Floats) -> Floats:
    """[b, m] strengths for [b, m, m] points of row against column; those that are finite have mean 0."""
    m = points.shape[-1]
    ratings = np.empty((len(points), m))
    linked = _linked(points > 0)
    ratings[linked] = _newton(points[linked])
    for k in np.flatnonzero(~linked):
        ratings[k] = _fit_part(points[k])
    return ratings


def bootstrap(tally: Tally, centre: Floats, rounds: int, rng: np.random.Generator) -> Floats:
    """[rounds, m] strengths of resampled votes, each round shifted onto `centre` by the models finite in it."""
    made = []
    size = max(1, _ROOM // max(len(tally.models) ** 2, len(tally.count)))
    for start in range(0, rounds, size):
        counts = rng.multinomial(tally.votes, tally.count / tally.votes, size=min(size, rounds - start))
        made.append(_aligned(fit(tally.points(counts)), centre))
    return np.concatenate(made)


def members(ratings: Floats) -> Ints:
    """The models that have a strength, in [m] strengths."""
    return np.flatnonzero(np.isfinite(ratings))


def _aligned(ratings: Floats, centre: Floats) -> Floats:
    finite = np.isfinite(ratings) & np.isfinite(centre)
    shift = np.where(finite, np.where(finite, ratings, 0) - np.where(finite, centre, 0), 0).sum(axis=1)
    made: Floats = ratings - (shift / np.maximum(finite.sum(axis=1), 1))[:, None]
    return made


def _newton(points: Floats) -> Floats:
    """Newton's method, halving a step that makes the likelihood worse; the maximum must exist."""
    games, won = points + points.transpose(0, 2, 1), points.sum(axis=2)
    ratings = np.zeros(won.shape)
    loss = _loss(points, ratings)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(ratings[:, None, :] - ratings[:, :, None]))
        gradient = won - (games * chance).sum(axis=2)
        step = np.linalg.solve(_curvature(games * chance * (1 - chance)), gradient[..., None])[..., 0]
        for _ in range(_HALVINGS):
            tried = _loss(points, ratings + step)
            worse = tried > loss + 1e-12 * np.abs(loss)
            if not worse.any():
                break
            step[worse] /= 2
        ratings, loss = ratings + step, np.minimum(tried, loss)
        if np.abs(step).max(initial=0) < _CLOSE:
            break
    centred: Floats = ratings - ratings.mean(axis=1, keepdims=True)
    return centred


def _curvature(weights: Floats) -> Floats:
    """The negative Hessian, made regular along the direction in which the likelihood is flat: all up by the same."""
    total = weights.sum(axis=2)
    m = total.shape[1]
    made: Floats = (total.mean(axis=1) / m)[:, None, None] - weights
    made[:, np.arange(m), np.arange(m)] += total
    return made


def _loss(points: Floats, ratings: Floats) -> Floats:
    behind = ratings[:, None, :] - ratings[:, :, None]
    made: Floats = (points * np.logaddexp(0, behind)).sum(axis=(1, 2))
    return made


def _linked(beats: Bools) -> Bools:
    """[b] whether every model is reached from every other, for [b, m, m] who has a point of whom."""
    return _reached(beats) & _reached(beats.transpose(0, 2, 1))


def _reached(beats: Bools) -> Bools:
    """[b] whether all are reached from the first."""
    edges = beats.astype(np.float32)
    seen = np.zeros(edges.shape[:2], dtype=bool)
    seen[:, :1] = True
    while True:
        more = seen | ((seen[:, None, :].astype(np.float32) @ edges)[:, 0] > 0)
        if (more == seen).all():
            return np.asarray(seen.all(axis=1))
        seen = more


def _fit_part(points: Floats) -> Floats:
    """[m] strengths where the maximum does not exist for all."""
    above = _closure(points > 0)
    group = above & above.T
    inside = np.array([points[np.ix_(row, row)].sum() for row in group])
    main = group[np.argmax(inside)]
    ratings = np.full(len(points), np.nan)
    if main.sum() < 2:
        return ratings
    ratings[main] = _newton(points[np.ix_(main, main)][None])[0]
    one = np.argmax(main)
    ratings[~main & above[:, one]] = np.inf
    ratings[~main & above[one]] = -np.inf
    return ratings


def _closure(beats: Bools) -> Bools:
    """[m, m] whether a chain of points leads from row to column."""
    reach = beats | np.eye(len(beats), dtype=bool)
    while True:
        further = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
        if (further == reach).all():
            return reach
        reach = further
