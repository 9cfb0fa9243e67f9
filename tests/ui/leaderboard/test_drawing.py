"""The tab's parts as HTML."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from queuechat.leaderboard.building import Options, build
from queuechat.leaderboard.results import Leaderboard, Standing
from tests.leaderboard.synthetic import battle, battles_of, spread, votes_between
from ui.leaderboard import drawing
from ui.leaderboard.heatmap import MOST, Kind, heatmap

EVIL = "<img src=x onerror=alert(1)>'\""


def board(models: int = 4, count: int = 500, *extra: str) -> Leaderboard:
    battles = battles_of(votes_between(spread(models), count, np.random.default_rng(1), 0.1))
    return build([*battles, *(battle(name, "m00") for name in extra)], Options(rounds=20))


def test_names_of_models_are_text_and_never_markup() -> None:
    made = board(3, 200, EVIL)
    table = replace(made.tables[0], title=EVIL)
    named = [replace(one, model=EVIL) if one.model == "m01" else one for one in table.standings]
    renamed = replace(table, models=[EVIL if name == "m01" else name for name in table.models])
    parts = [drawing.head(made, table, named, 3), drawing.standings_table(named), drawing.whiskers(named)]
    parts += [heatmap(renamed, named, kind) for kind in Kind]
    for part in parts:
        assert "<img" not in part
        assert "&lt;img src=x onerror=alert(1)&gt;&#x27;&quot;" in part


def test_whiskers_are_where_the_numbers_are() -> None:
    ends = [("a", 1100.0, 1050.0, 1150.0), ("b", 1000.0, None, 1100.0), ("c", 900.0, 850.0, None)]
    shown = [Standing(name, 9, 3, 3, 3, 0.5, 1000.0, 1, score, low, high) for name, score, low, high in ends]
    plot = drawing.whiskers([*shown, Standing("d", 1, 1, 0, 0, 1.0, 1002.0)])
    assert re.findall(r"<em style='left:([\d.]+)%'>(\d+)</em>", plot) == [
        *(("0.0", "800"), ("25.0", "900"), ("50.0", "1000"), ("75.0", "1100"), ("100.0", "1200"))
    ]
    assert re.findall(r"class='line([ a-z-]*)' style='left:([\d.]+)%;width:([\d.]+)%'", plot) == [
        *(("", "62.5", "25.0"), (" open-left", "0.0", "75.0"), (" open-right", "12.5", "87.5"))
    ]
    assert re.findall(r"<b style='left:([\d.]+)%'>", plot) == ["75.0", "50.0", "25.0"]
    assert ">d<" not in plot
    assert drawing.whiskers([]) == ""


def cells(part: str) -> list[str]:
    return re.findall(r"<td[^>]*>([^<]*)</td>", part)


def test_a_heat_map_says_who_beats_whom() -> None:
    votes = [battle("a", "b"), battle("a", "b"), battle("b", "a"), battle("b", "c"), battle("c", "b")]
    (table,) = build(votes, Options(rounds=5)).tables
    standings = sorted(table.standings, key=lambda one: one.model)
    assert cells(heatmap(table, standings, Kind.OBSERVED)) == ["", "67%", "", "33%", "", "50%", "", "50%", ""]
    assert cells(heatmap(table, standings, Kind.BATTLES)) == ["", "3", "", "3", "", "2", "", "2", ""]
    predicted = cells(heatmap(table, standings, Kind.PREDICTED))
    assert predicted[1] == "67%"
    assert [int(predicted[k].rstrip("%")) + int(predicted[j].rstrip("%")) for k, j in ((1, 3), (2, 6), (5, 7))] == [
        100
    ] * 3


def test_a_heat_map_of_many_models_has_the_first_ones_and_says_so() -> None:
    (table,) = board(MOST + 5, 5000).tables
    part = heatmap(table, table.standings, Kind.BATTLES)
    assert f"The first {MOST} of {MOST + 5} models." in part
    assert len(cells(part)) == MOST * MOST


def test_too_few_votes_are_said_plainly() -> None:
    few, none = board(3, 60), build([battle("a", "b")], Options(rounds=5))
    assert "Only 60 votes yet" in drawing.head(few, few.tables[0], few.tables[0].standings, 60)
    assert "Too few votes to rate anybody" in drawing.head(none, none.tables[0], none.tables[0].standings, 1)
    assert "won all its battles" in drawing.standings_table(none.tables[0].standings)
    many = board()
    assert "qc-note" not in drawing.head(many, many.tables[0], many.tables[0].standings, 500)


@pytest.mark.parametrize(("span", "bars", "width"), [(1, 1, 1), (120, 120, 1), (121, 61, 2), (1000, 112, 9)])
def test_days_without_votes_are_there_and_long_spans_are_put_together(span: int, bars: int, width: int) -> None:
    last = np.datetime_as_string(np.datetime64("2026-01-01") + span - 1)
    plot = drawing.days([("2026-01-01", 5), (str(last), 3)] if span > 1 else [("2026-01-01", 8)])
    counts = [int(count) for count in re.findall(r": (\d+) votes?'", plot)]
    assert len(counts) == bars
    assert sum(counts) == 8
    assert ("a day" in plot) is (width == 1)
