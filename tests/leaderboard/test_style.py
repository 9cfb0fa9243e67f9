"""What is left of a model's strength when both answers look alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from queuechat.leaderboard.battles import CleanBattle
from queuechat.leaderboard.measures import has_code, prompt_tokens, styles
from queuechat.leaderboard.scale import UNIT
from queuechat.leaderboard.style import bootstrap_style, features, fit_style
from queuechat.leaderboard.tally import Floats, Votes
from tests.leaderboard.synthetic import battle, spread, votes_between


def styled_votes(count: int, swayed: float, rng: np.random.Generator) -> tuple[Votes, Floats]:
    """Votes that go by strength and, `swayed` times, by the first feature."""
    truth = spread(6)
    votes, x = votes_between(truth, count, rng), rng.normal(size=(count, 4))
    chance = 1 / (1 + np.exp(truth[votes.b] - truth[votes.a] - swayed * x[:, 0]))
    return Votes(votes.models, votes.a, votes.b, (rng.random(count) < chance).astype(np.float64)), x


def sklearn_fit(votes: Votes, x: Floats) -> Floats:
    """As FastChat's notebook did it: models at ln 10, each vote twice, a tie once for each side, C = 1."""
    n, m = len(votes), len(votes.models)
    rows = np.zeros((n, m + x.shape[1]))
    rows[np.arange(n), votes.a] = math.log(10)
    rows[np.arange(n), votes.b] = -math.log(10)
    rows[:, m:] = x
    y = np.concatenate([votes.score > 0, votes.score == 1])
    regression = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000, solver="newton-cholesky")
    regression.fit(np.concatenate([rows, rows]), y)
    made: Floats = np.concatenate([regression.coef_[0][:m] * math.log(10), regression.coef_[0][m:]])
    return made


@pytest.mark.parametrize("count", [200, 5000])
def test_style_control_equals_an_independent_fit(count: int) -> None:
    votes, x = styled_votes(count, 0.5, np.random.default_rng(count))
    votes.score[::7] = 0.5
    found, wanted = fit_style(votes, x), sklearn_fit(votes, x)
    assert np.abs(found - wanted)[:6].max() * UNIT < 0.1
    assert found[6:] == pytest.approx(wanted[6:], abs=1e-4)
    assert found[:6].sum() == pytest.approx(0, abs=1e-6)


def test_what_a_model_won_by_its_style_is_taken_off() -> None:
    rng = np.random.default_rng(5)
    votes, x = styled_votes(8000, 0.0, rng)
    x[:, 0] = np.where(votes.a == 2, 1.5, np.where(votes.b == 2, -1.5, 0)) + rng.normal(size=len(votes)) * 0.7
    truth = spread(6)
    chance = 1 / (1 + np.exp(truth[votes.b] - truth[votes.a] - 0.8 * x[:, 0]))
    votes = Votes(votes.models, votes.a, votes.b, (rng.random(len(votes)) < chance).astype(np.float64))
    plain, controlled = fit_style(votes, np.zeros((len(votes), 4))), fit_style(votes, x)
    assert plain[2] - truth[2] > 0.6
    assert abs(controlled[2] - truth[2]) < 0.15
    assert controlled[6] == pytest.approx(0.8, abs=0.1)


def test_resampled_fits_scatter_around_the_fit() -> None:
    votes, x = styled_votes(2000, 0.4, np.random.default_rng(9))
    centre = fit_style(votes, x)
    samples = bootstrap_style(votes, x, centre, 60, np.random.default_rng(1))
    assert (samples == bootstrap_style(votes, x, centre, 60, np.random.default_rng(1))).all()
    assert np.abs(samples.mean(axis=0) - centre).max() < 0.05
    assert (samples.std(axis=0) > 0.02).all()


def said(prompt: str, answer: str, **turn: object) -> tuple[dict[str, object], ...]:
    return ({"role": "user", "content": prompt, **turn}, {"role": "assistant", "content": answer, **turn})


def styles_of(one: CleanBattle) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = styles(one)
    assert found
    return found


def test_counts_that_a_battle_brings_are_taken() -> None:
    metadata = {
        "sum_user_tokens": 600,
        **{"sum_assistant_a_tokens": 100, "header_count_a": {"h1": 1, "h2": 2}, "list_count_a": {"ordered": 4}},
        **{"bold_count_a": {"**": 0, "__": 5}, "sum_assistant_b_tokens": 7, "header_count_b": 0, "list_count_b": 0},
        "bold_count_b": 1,
    }
    one = battle("a", "b", conv_metadata=metadata, more={"is_code": True})
    assert styles_of(one) == ((100, 3, 4, 5), (7, 0, 0, 1))
    assert prompt_tokens(one) == 600
    assert has_code(one) is True


def test_what_nothing_tells_is_not_made_up() -> None:
    bare = battle("a", "b")
    assert (styles(bare), prompt_tokens(bare), has_code(bare)) == (None, None, None)


def test_a_feature_in_which_no_votes_differ_counts_nothing() -> None:
    x = features([((10, 0, 3, 0), (30, 0, 3, 0)), ((30, 0, 3, 0), (10, 0, 3, 0)), ((5, 0, 1, 0), (5, 0, 1, 0))])
    assert np.isfinite(x).all()
    assert (x[:, 1:] == 0).all()
    assert x[:, 0].mean() == pytest.approx(0)
    assert x[:, 0].std() == pytest.approx(1)
