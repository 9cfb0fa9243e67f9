"""Strengths and their intervals, against known truths and independent fits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from queuechat.leaderboard.bradley_terry import bootstrap, fit, members
from queuechat.leaderboard.scale import UNIT, interval, ranks
from queuechat.leaderboard.tally import Floats, Votes, tally_of
from tests.leaderboard.synthetic import spread, votes_between


def fit_votes(votes: Votes) -> Floats:
    tally = tally_of(votes)
    made: Floats = fit(tally.points(tally.count[None]))[0]
    return made


def sklearn_fit(votes: Votes) -> Floats:
    """Logistic regression without a penalty over the votes themselves, each as a win and a loss of half its weight."""
    n, m = len(votes), len(votes.models)
    x = np.zeros((n, m))
    x[np.arange(n), votes.a] += 1
    x[np.arange(n), votes.b] -= 1
    rows = np.concatenate([x, x])[:, 1:]  # the first is at 0: only differences are determined
    y = np.concatenate([np.ones(n), np.zeros(n)])
    weights = np.concatenate([votes.score, 1 - votes.score])
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=10_000, solver="newton-cholesky")
    regression.fit(rows, y, sample_weight=weights)
    ratings = np.concatenate([[0.0], regression.coef_[0]])
    made: Floats = ratings - ratings.mean()
    return made


@pytest.mark.parametrize(("m", "count", "ties"), [(2, 50, 0.2), (10, 3000, 0.0), (30, 20_000, 0.3), (12, 300, 0.1)])
def test_strengths_equal_those_of_a_logistic_regression_over_single_votes(m: int, count: int, ties: float) -> None:
    votes = votes_between(spread(m), count, np.random.default_rng(m), ties)
    assert np.abs(fit_votes(votes) - sklearn_fit(votes)).max() * UNIT < 0.1


def test_two_models_are_as_far_apart_as_their_odds() -> None:
    votes = Votes(
        ("a", "b"), np.zeros(10, dtype=np.int64), np.ones(10, dtype=np.int64), np.array([1.0] * 7 + [0.5] * 2 + [0.0])
    )
    ratings = fit_votes(votes)
    assert ratings[0] - ratings[1] == pytest.approx(math.log(8 / 2))
    assert ratings.sum() == pytest.approx(0)


def test_sides_and_order_do_not_matter_and_a_vote_twice_weighs_two() -> None:
    votes = votes_between(spread(6), 500, np.random.default_rng(1), 0.2)
    turned = Votes(votes.models, votes.b[::-1], votes.a[::-1], 1 - votes.score[::-1])
    assert fit_votes(turned) == pytest.approx(fit_votes(votes), abs=1e-9)
    doubled = Votes(votes.models, *(np.concatenate([part, part]) for part in (votes.a, votes.b, votes.score)))
    tally = tally_of(votes)
    assert fit_votes(doubled) == pytest.approx(fit(tally.points(2 * tally.count[None]))[0], abs=1e-9)
    assert tally.votes == 500
    assert sum(wins + ties + losses for _, _, wins, ties, losses in tally.meetings()) == 500


def test_one_surprise_among_thousands_still_has_its_maximum() -> None:
    points = np.array([[[0.0, 100_000.0, 3.0], [1.0, 0.0, 100_000.0], [0.5, 0.5, 0.0]]])
    ratings = fit(points)[0]
    chance = 1 / (1 + np.exp(ratings[None, :] - ratings[:, None]))
    games = points[0] + points[0].T
    assert (games * chance).sum(axis=1) == pytest.approx(points[0].sum(axis=1), abs=1e-4)


def points_of(*wins: tuple[int, int, float], m: int) -> Floats:
    made = np.zeros((1, m, m))
    for winner, loser, count in wins:
        made[0, winner, loser] += count
    return made


def test_who_has_no_finite_strength_is_said_to_have_none() -> None:
    circle = [(0, 1, 2.0), (1, 2, 2.0), (2, 0, 1.0)]
    alone = fit(points_of(*circle, m=3))[0]
    # 3 has beaten one of the circle, 4 has lost to one, 5 and 6 met only each other.
    ratings = fit(points_of(*circle, (3, 0, 9.0), (1, 4, 1.0), (5, 6, 1.0), (6, 5, 1.0), m=7))[0]
    assert ratings[:3] == pytest.approx(alone)
    assert ratings[3:5].tolist() == [np.inf, -np.inf]
    assert np.isnan(ratings[5:]).all()
    assert members(ratings).tolist() == [0, 1, 2]


def test_where_nobody_was_ever_repaid_nobody_is_rated() -> None:
    assert np.isnan(fit(points_of((0, 1, 3.0), (1, 2, 1.0), m=3))).all()


def test_a_model_that_often_wins_all_in_a_resample_has_no_upper_end() -> None:
    # 0 lost once in ten: a resample without that vote, more than a third of them, knows no bound.
    votes = Votes(
        ("a", "b", "c"),
        np.array([0] * 10 + [1] * 40 + [1] * 40),
        np.array([1] * 10 + [2] * 40 + [2] * 40),
        np.array([1.0] * 9 + [0.0] + [1.0] * 40 + [0.0] * 40),
    )
    tally = tally_of(votes)
    centre = fit(tally.points(tally.count[None]))[0]
    lower, upper = interval(bootstrap(tally, centre, 200, np.random.default_rng(0)))
    assert upper[0] == np.inf
    assert np.isfinite(lower[0])
    assert np.isfinite(upper[2])


def test_a_bootstrap_is_repeated_by_its_seed() -> None:
    tally = tally_of(votes_between(spread(5), 400, np.random.default_rng(3)))
    centre = fit(tally.points(tally.count[None]))[0]
    one, two, other = (bootstrap(tally, centre, 20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()


def test_intervals_cover_the_truth_at_their_nominal_rate() -> None:
    # One model of each round of the simulation, so that the rounds are independent. If 95 % of all intervals cover, a
    # count outside of these bounds comes once in a thousand such simulations.
    truth, trials, covered = spread(8), 500, 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        tally = tally_of(votes_between(truth, 1500, rng))
        centre = fit(tally.points(tally.count[None]))[0]
        lower, upper = interval(bootstrap(tally, centre, 200, rng))
        one = trial % len(truth)
        covered += bool(lower[one] <= truth[one] <= upper[one])
    low, high = binomial_bounds(trials, 0.95, 0.001)
    assert low <= covered <= high


def binomial_bounds(n: int, p: float, outside: float) -> tuple[int, int]:
    """Counts that at most `outside` of all binomial draws lie beyond, half of it on each side."""
    chances = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
    below = np.cumsum(chances)
    return int(np.searchsorted(below, outside / 2)), int(np.searchsorted(below, 1 - outside / 2))


def test_a_rank_counts_those_who_are_surely_better() -> None:
    lower, upper = np.array([90.0, 80.0, 50.0, -np.inf]), np.array([110.0, 95.0, 79.0, 60.0])
    assert ranks(lower, upper).tolist() == [1, 1, 3, 3]
