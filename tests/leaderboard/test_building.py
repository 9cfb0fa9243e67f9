"""From battles to the document."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from queuechat.cleaning.completing import completed
from queuechat.errors import InvalidRequest
from queuechat.leaderboard.battles import Winner
from queuechat.leaderboard.building import Options, build
from queuechat.leaderboard.categories import ALL, BUILT_IN, Category
from queuechat.leaderboard.elo import online_elo
from queuechat.leaderboard.results import Unrated, as_csv, decode, read_leaderboard, write_leaderboard
from queuechat.leaderboard.tally import votes_of
from tests.leaderboard.synthetic import battle, battles_of, spread, votes_between
from tests.leaderboard.test_style import said

BATTLES = battles_of(votes_between(spread(5, 600), 2000, np.random.default_rng(1), 0.1), [f"v{k}" for k in range(40)])


def test_the_better_come_first_with_intervals_around_their_scores() -> None:
    (table,) = build(BATTLES, Options()).tables
    assert [one.model for one in table.standings] == ["m04", "m03", "m02", "m01", "m00"]
    assert [one.rank for one in table.standings] == [1, 2, 3, 4, 5]
    assert np.mean([one.score for one in table.standings if one.score]) == pytest.approx(1000, abs=0.01)
    for one in table.standings:
        assert (one.lower or 0) < (one.score or 0) < (one.upper or 0)
        assert one.votes == one.wins + one.ties + one.losses
        assert one.win_rate == pytest.approx((one.wins + one.ties / 2) / one.votes, abs=1e-5)
    assert sum(one.votes for one in table.standings) == 2 * table.votes == 4000


def test_the_same_battles_and_seed_make_the_same_document() -> None:
    options = Options(rounds=30, seed=4)
    one, two = build(BATTLES, options), build(BATTLES, options)
    assert replace(one, made_at=0) == replace(two, made_at=0)
    assert build(BATTLES, replace(options, seed=5)).tables != one.tables


def test_an_anchor_moves_all_scores_and_no_rank() -> None:
    free, held = build(BATTLES, Options()).tables[0], build(BATTLES, Options(anchor=("m01", 1114.0))).tables[0]
    scores = {one.model: one.score for one in held.standings}
    assert scores["m01"] == pytest.approx(1114)
    assert held.anchored
    moved = {a.model: (b.score or 0) - (a.score or 0) for a, b in zip(free.standings, held.standings, strict=True)}
    assert max(moved.values()) - min(moved.values()) < 0.001
    assert [one.rank for one in free.standings] == [one.rank for one in held.standings]
    with pytest.raises(InvalidRequest, match="'gone' is in no battle"):
        build(BATTLES, Options(anchor=("gone", 1000.0)))


def test_votes_of_people_who_knew_the_names_are_left_out_unless_asked_for() -> None:
    battles = [*BATTLES, replace(BATTLES[0], anony=False), battle("m00", "m00")]
    made = build(battles, Options(rounds=5))
    assert (made.votes, made.left_out) == (2000, {"names known": 1, "same model": 1})
    assert build(battles, Options(rounds=5, named=True)).votes == 2001


def test_flagged_voters_are_named_and_left_out_when_asked() -> None:
    turned = {Winner.A: Winner.B, Winner.B: Winner.A}
    battles = [replace(one, winner=turned.get(one.winner, one.winner)) if one.judge == "v3" else one for one in BATTLES]
    kept, left = build(battles, Options(rounds=5)), build(battles, Options(rounds=5, exclude_outliers=True))
    assert [one.voter for one in kept.flagged] == [one.voter for one in left.flagged] == ["v3"]
    assert (kept.votes, left.votes, left.left_out) == (2000, 1950, {"outlier": 50})


def test_a_model_without_a_finite_score_is_shown_with_the_reason() -> None:
    extra = [*(battle("new", f"m0{k}") for k in range(3)), battle("m00", "poor"), battle("x", "y"), battle("y", "x")]
    (table,) = build([*BATTLES, *extra], Options(rounds=10)).tables
    assert [one.model for one in table.standings][:5] == ["m04", "m03", "m02", "m01", "m00"]
    unrated = {one.model: (one.unrated, one.score, one.rank) for one in table.standings[5:]}
    assert unrated == {
        "new": (Unrated.UNBEATEN, None, None),
        "poor": (Unrated.WINLESS, None, None),
        "x": (Unrated.APART, None, None),
        "y": (Unrated.APART, None, None),
    }


def test_nothing_to_rate_makes_a_document_all_the_same() -> None:
    empty = build([], Options(style_control=True))
    assert [(table.category, table.votes, table.standings) for table in empty.tables] == [("all", 0, [])]
    one_sided = build([battle("a", "b"), battle("a", "b")], Options(rounds=5))
    assert [(one.model, one.unrated, one.score) for one in one_sided.tables[0].standings] == [
        ("a", Unrated.UNBEATEN, None),
        ("b", Unrated.WINLESS, None),
    ]
    assert decode(empty.encode()) == empty


def test_style_control_rates_the_votes_whose_answers_are_known() -> None:
    long, short = "word " * 50, "word"
    told = [
        completed(
            replace(
                one,
                conversation_a=said("q", long if k % 3 else short),
                conversation_b=said("q", short if k % 2 else long),
            )
        )
        for k, one in enumerate(BATTLES[:1500])
    ]
    made = build([*told, *BATTLES[1500:]], Options(rounds=20, style_control=True)).tables[0]
    assert made.votes == 2000
    assert made.styled
    assert made.styled.votes == 1500
    assert [one.model for one in made.styled.standings] == ["m04", "m03", "m02", "m01", "m00"]
    assert [effect.feature for effect in made.styled.effects] == ["tokens", "headers", "lists", "bold"]
    assert all(effect.lower <= effect.odds <= effect.upper for effect in made.styled.effects)
    assert build(BATTLES, Options(rounds=5, style_control=True)).tables[0].styled is None


def test_each_category_has_a_table_and_empty_ones_have_none() -> None:
    battles = [replace(one, language="English" if k % 2 else "German", turn=1) for k, one in enumerate(BATTLES)]
    chosen = [*BUILT_IN, Category("german", "German", languages=("german",))]
    made = build(battles, Options(rounds=5, categories=chosen))
    assert {table.category: table.votes for table in made.tables} == {
        "all": 2000,
        "no-ties": sum(one.winner is not Winner.TIE for one in battles),
        "german": 1000,
    }


def test_days_count_all_votes() -> None:
    days = build([replace(one, tstamp=86_400.0 * (k % 3)) for k, one in enumerate(BATTLES)], Options(rounds=1)).days
    assert days == [("1970-01-01", 667), ("1970-01-02", 667), ("1970-01-03", 666)]


def test_files_say_what_the_document_says(tmp_path: Path) -> None:
    made = build([*BATTLES, battle("new", "m00")], Options(rounds=5, categories=[ALL, BUILT_IN[1]]))
    paths = write_leaderboard(tmp_path / "new folder", made)
    assert read_leaderboard(paths[0]) == made
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert paths[1].read_text() == as_csv(made)
    assert len(rows) == 12
    assert (rows[0]["category"], rows[0]["rank"], rows[0]["model"]) == ("all", "1", "m04")
    assert float(rows[0]["score"]) == made.tables[0].standings[0].score
    assert (rows[5]["model"], rows[5]["score"], rows[5]["unrated"]) == ("new", "", "unbeaten")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["leaderboard.csv", "leaderboard.json"]


def test_a_file_that_is_no_leaderboard_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"none\.json: No such file"):
        read_leaderboard(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text('{"made_at": "now"}')
    with pytest.raises(InvalidRequest, match=r"broken\.json: it is no leaderboard: made_at: "):
        read_leaderboard(broken)
    broken.write_bytes(replace(build([], Options()), version=99).encode())
    with pytest.raises(InvalidRequest, match="version 99, not 1: build it again"):
        read_leaderboard(broken)


def test_elo_goes_vote_by_vote() -> None:
    votes = votes_of([battle("a", "b"), battle("b", "c", Winner.TIE), battle("a", "c", Winner.B)])
    a, b, c = online_elo(votes)
    first = 4 * 0.5
    assert first == 2
    after = 4 * (0.5 - 1 / (1 + 10 ** ((1000 - 998) / 400)))
    assert b == pytest.approx(998 + after)
    last = 4 * (0 - 1 / (1 + 10 ** ((1000 - after - 1002) / 400)))
    assert (a, c) == (pytest.approx(1002 + last), pytest.approx(1000 - after - last))
    assert a + b + c == pytest.approx(3000)
