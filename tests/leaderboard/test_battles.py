"""FastChat's clean_battle JSON, read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import InvalidRequest
from queuechat.leaderboard.battles import Winner, battle_of, read_battles, row_of, write_battles

SIMPLE = {
    **{"model_a": "vicuna-13b", "model_b": "koala-13b", "winner": "tie (bothbad)", "judge": "arena_user_7"},
    **{"turn": 1, "anony": True, "language": "English", "tstamp": 1682351591.1322},
}
FULL = {
    "question_id": "58210e39b3fd4441a2bd4a518bb44c2d",
    **SIMPLE,
    "conversation_a": [{"role": "user", "content": "hi", "num_tokens": 2}, {"role": "assistant", "content": "ho"}],
    "conversation_b": [{"role": "user", "content": "hi", "num_tokens": 2}, {"role": "assistant", "content": None}],
    "conv_metadata": {"sum_user_tokens": 2, "header_count_a": {"h1": 0, "h2": 1}},
    "dedup_tag": {"high_freq": False, "sampled": True},
    "is_code": False,
    "category_tag": None,
}


@pytest.mark.parametrize("row", [SIMPLE, FULL])
def test_a_row_comes_out_as_it_went_in(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "clean_battle.json"
    path.write_text(json.dumps([row]))
    (battle,) = read_battles([path])
    assert (battle.winner, battle.score, battle.tstamp) == (Winner.BOTH_BAD, 0.5, row["tstamp"])
    write_battles(path, [battle])
    assert json.loads(path.read_text()) == [row]


def test_battles_of_all_files_come_in_the_order_of_the_votes(tmp_path: Path) -> None:
    for name, times in (("a", (5, 1)), ("b", (3,))):
        (tmp_path / name).write_text(json.dumps([{**SIMPLE, "tstamp": at} for at in times]))
    assert [battle.tstamp for battle in read_battles([tmp_path / "a", tmp_path / "b"])] == [1, 3, 5]


@pytest.mark.parametrize(
    ("change", "complaint", "param"),
    [
        ({"winner": "left"}, r"winner must be one of model_a, model_b, tie, tie \(bothbad\), not 'left'", "winner"),
        ({"winner": None}, "winner is missing", "winner"),
        ({"model_b": ""}, "model_b must be a text that is not empty", "model_b"),
        ({"model_a": ["x"]}, "model_a must be a text", "model_a"),
        ({"anony": 1}, "anony must be true or false, not '1'", "anony"),
        ({"tstamp": "yesterday"}, "tstamp must be a number of seconds", "tstamp"),
        ({"turn": -1}, "turn must be a number", "turn"),
        ({"conversation_a": ["hi"]}, "conversation_a must be a list of objects", "conversation_a"),
        ({"conv_metadata": []}, "conv_metadata must be an object", "conv_metadata"),
    ],
)
def test_a_wrong_row_is_named_with_its_file(change: dict[str, Any], complaint: str, param: str, tmp_path: Path) -> None:
    path = tmp_path / "clean.json"
    path.write_text(json.dumps([SIMPLE, {**SIMPLE, **change}]))
    with pytest.raises(InvalidRequest, match=rf"clean\.json, row 2: {complaint}") as caught:
        read_battles([path])
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"type": "leftvote"}\n{"type": "chat"}', "is not JSON"),
        ('{"a": 1}', "a clean_battle file is an array"),
        ('["x"]', "row 1: it is not an object"),
        ("", "is not JSON"),
    ],
)
def test_what_is_no_clean_battle_file_is_refused(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InvalidRequest, match=rf"other\.json.*{complaint}"):
        read_battles([path])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"none\.json: No such file"):
        read_battles([tmp_path / "none.json"])


def test_numbers_are_taken_as_names_of_voters() -> None:
    assert battle_of({**SIMPLE, "judge": 12}).judge == "12"
    assert "conversation_a" not in row_of(battle_of(SIMPLE))
