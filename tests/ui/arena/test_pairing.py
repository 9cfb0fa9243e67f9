"""Who meets whom in the arena."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from queuechat.errors import Misconfigured
from ui.arena.pairing import Pairs, draw_pair, read_pairs

MODELS = ["ant", "bee", "cat", "dog"]
DRAWS = 4000


def drawn(pairs: Pairs, votes: dict[str, int] | None = None, models: list[str] = MODELS) -> Counter[tuple[str, str]]:
    rng = random.Random(7)
    counts: Counter[tuple[str, str]] = Counter()
    for _ in range(DRAWS):
        pair = draw_pair(models, pairs, rng, votes)
        assert pair is not None
        counts[pair] += 1
    return counts


def share(counts: Counter[tuple[str, str]], name: str) -> float:
    """In which part of the battles a model is."""
    return sum(n for pair, n in counts.items() if name in pair) / DRAWS


def test_without_rules_all_pairs_and_both_orders_are_as_likely() -> None:
    counts = drawn(Pairs())
    assert len(counts) == 12
    assert all(abs(n - DRAWS / 12) < 90 for n in counts.values())  # five standard deviations


def test_the_same_seed_draws_the_same_pairs_in_whatever_order_models_are_told() -> None:
    assert drawn(Pairs()) == drawn(Pairs(), models=MODELS[::-1])


def test_a_model_with_more_weight_comes_more_often_and_one_with_none_never() -> None:
    counts = drawn(Pairs(weights={"a*": 9, "dog": 0}))
    assert share(counts, "ant") > 0.9
    assert share(counts, "dog") == 0


def test_models_left_out_are_never_drawn() -> None:
    counts = drawn(Pairs(leave_out=["?at", "dog"]))
    assert set(counts) == {("ant", "bee"), ("bee", "ant")}


def test_half_of_the_rivals_are_targets_however_few_there_are() -> None:
    counts = drawn(Pairs(targets={"ant": ["bee"]}, weights={"ant": 1000}))
    assert abs((counts["ant", "bee"] + counts["bee", "ant"]) / DRAWS - 0.5) < 0.04


def test_a_model_with_rivals_of_its_own_meets_nobody_else_when_it_is_drawn_first() -> None:
    counts = drawn(Pairs(only={"*": ["ant", "b*"]}))
    assert ("cat", "dog") not in counts
    assert ("dog", "cat") not in counts


def test_a_model_that_may_meet_nobody_live_leaves_the_others_their_battles() -> None:
    counts = drawn(Pairs(only={"ant": ["elk"]}, weights={"ant": 1000}))
    assert {"ant"} < {name for pair in counts for name in pair}


def test_models_with_fewer_votes_come_first() -> None:
    votes = {"ant": 99, "bee": 99, "cat": 99}
    counts = drawn(Pairs(fewer_votes_first=True), votes)
    assert share(counts, "dog") > 0.9
    assert share(drawn(Pairs(), votes), "dog") < 0.6


@pytest.mark.parametrize(
    ("models", "pairs"),
    [([], Pairs()), (["ant"], Pairs()), (["ant", "ant"], Pairs()), (MODELS, Pairs(leave_out=["*t", "b*"]))],
)
def test_fewer_than_two_make_no_pair(models: list[str], pairs: Pairs) -> None:
    assert draw_pair(models, pairs, random.Random(1)) is None


def test_a_file_says_what_the_rules_are(tmp_path: Path) -> None:
    file = tmp_path / "pairs.toml"
    file.write_text('fewer_votes_first = true\nleave_out = ["x"]\n[weights]\n"a*" = 2\n[targets]\nbee = ["cat"]\n')
    assert read_pairs(file) == Pairs(
        fewer_votes_first=True, leave_out=["x"], weights={"a*": 2.0}, targets={"bee": ["cat"]}
    )
    assert read_pairs(None) == Pairs()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weights = [", "not TOML"),
        ("[weights]\nant = -1", "weights.ant"),
        ("[weights]\nant = nan", "weights.ant"),
        ("wieghts = 1", "wieghts"),
        ("leave_out = 3", "leave_out"),
    ],
)
def test_a_file_that_means_nothing_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "pairs.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=said):
        read_pairs(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="QUEUECHAT_ARENA_PAIRS: cannot read"):
        read_pairs(tmp_path / "none.toml")
