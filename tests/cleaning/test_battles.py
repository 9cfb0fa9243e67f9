"""Which votes count, and what a row says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuechat.battles import Battle, Choice, Side, vote_row
from queuechat.cleaning.battles import CleanBattle, Mode, Tally, clean_battles
from tests.cleaning.lines import NOON, QUESTION, chat, log_file, state, vote


def cleaned(folder: Path, *rows: Any, **rules: Any) -> tuple[list[CleanBattle], Tally]:
    tally = Tally()
    return clean_battles([log_file(folder, *rows)], tally, **rules), tally


def one(folder: Path, row: dict[str, Any], **rules: Any) -> CleanBattle:
    ((battle,), _) = cleaned(folder, row, **rules)
    return battle


def test_a_row_has_the_fields_of_fastchat_s_clean_battles(tmp_path: Path) -> None:
    battle: dict[str, Any] = {**one(tmp_path, vote(), mode=Mode.CONV_RELEASE)}
    judge, counts = battle.pop("judge"), battle.pop("conv_metadata")
    assert battle == {
        "question_id": "ape-conv",
        "model_a": "ape",
        "model_b": "bee",
        "winner": "model_a",
        "conversation_a": [
            {"role": "user", "content": QUESTION, "num_tokens": 9},
            {"role": "assistant", "content": "Mont Blanc.", "num_tokens": 3},
        ],
        "conversation_b": [
            {"role": "user", "content": QUESTION, "num_tokens": 9},
            {"role": "assistant", "content": "Mont Blanc.", "num_tokens": 3},
        ],
        "turn": 1,
        "anony": True,
        "language": "English",
        "tstamp": NOON,
    }
    assert judge.startswith("arena_user_")
    assert (counts["sum_user_tokens"], counts["sum_assistant_a_tokens"], counts["turns"]) == (9, 3, 1)


def test_a_simple_row_tells_nothing_of_what_was_said(tmp_path: Path) -> None:
    battle = one(tmp_path, vote())
    assert {"question_id", "conversation_a", "conversation_b"}.isdisjoint(battle)
    assert "Mont Blanc" not in str(battle)


@pytest.mark.parametrize(
    ("kind", "winner"),
    [
        ("leftvote", "model_a"),
        ("rightvote", "model_b"),
        ("tievote", "tie"),
        ("bothbad_vote", "tie (bothbad)"),
    ],
)
def test_each_vote_has_its_winner(tmp_path: Path, kind: str, winner: str) -> None:
    assert one(tmp_path, vote(kind))["winner"] == winner


def test_our_own_votes_are_read(tmp_path: Path) -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Wer bist du denn eigentlich?"},
        {"role": "assistant", "content": "Ein Modell."},
    ]
    battle = Battle("b1", (Side("ape", talk), Side("bee", talk)), True, "somebody", NOON)
    found = one(tmp_path, {**vote_row(battle, Choice.TIE, NOON), "entry": "1-0"}, mode=Mode.CONV_RELEASE)
    assert (found["model_a"], found["model_b"], found["winner"], found["turn"]) == ("ape", "bee", "tie", 1)
    assert found["language"] == "German"
    assert [message["role"] for message in found["conversation_a"]] == ["user", "assistant"]


def says(text: Any) -> dict[str, Any]:
    return vote(right=state("bee", QUESTION, text))


DROPPED: dict[str, tuple[dict[str, Any], str]] = {
    "a maker's name": (says("I was made by OpenAI."), "leaked_identity"),
    "a maker's name within a word": (says("We at ANTHROPICS think"), "leaked_identity"),
    "the model's own name": (says("Call me Bee!"), "leaked_identity"),
    "the other model's name": (says("Are you APE?"), "leaked_identity"),
    "a name in a question": (vote(left=state("ape", "Are you Claude?", "No.")), "leaked_identity"),
    "the last part of a path": (vote(right=state("zoo/bee-2", QUESTION, "I am bee-2")), "leaked_identity"),
    "a voter who was told": (vote(leaked=True), "leaked_identity"),
    "an error": (says("**API REQUEST ERROR** Reason: Unknown."), "error"),
    "a cursor": (says("Mont Bl▌"), "unfinished"),
    "no last answer": (vote(right=state("bee", QUESTION, "Yes.", "Sure?")), "unfinished"),
    "an empty answer": (says(""), "none_msg"),
    "an answer that never came": (says(None), "none_msg"),
    "no words": (vote(left=state("ape", offset=2)), "invalid"),
    "no hidden names": (vote(left=state(None), right=state(None)), "invalid"),
    "one name": (vote(models=["ape", ""]), "invalid"),
    "no names at all": (vote(models=[None, None]), "invalid"),
    "names that contradict": (vote(models=["ape", "cat"]), "invalid"),
}


@pytest.mark.parametrize("name", DROPPED)
def test_a_vote_that_says_too_much_or_too_little_does_not_count(tmp_path: Path, name: str) -> None:
    row, why = DROPPED[name]
    battles, tally = cleaned(tmp_path, row, vote())
    assert (len(battles), dict(tally.dropped), tally.votes, tally.kept) == (1, {why: 1}, 2, 1)


def test_a_word_that_has_a_model_s_name_in_it_is_no_leak(tmp_path: Path) -> None:
    assert one(tmp_path, says("Apes drink beer, shaped like bees."))


def test_excluded_models_and_banned_voters_do_not_count(tmp_path: Path) -> None:
    rows = [vote(), vote(right=state("cat")), vote(right=state("dog"), ip="198.51.100.9")]
    battles, tally = cleaned(tmp_path, *rows, exclude=frozenset({"cat"}), banned=frozenset({"198.51.100.9"}))
    assert [battle["model_b"] for battle in battles] == ["bee"]
    assert tally.dropped == {"exclude_model": 1, "banned": 1}


def test_judges_are_the_same_people_under_other_names(tmp_path: Path) -> None:
    rows = [vote(battle_id=f"{k}", ip=ip) for k, ip in enumerate(("203.0.113.7", "198.51.100.9", "203.0.113.7"))]
    first, second, third = (battle["judge"] for battle in cleaned(tmp_path, *rows)[0])
    assert first == third != second
    assert "203" not in first
    again = [battle["judge"] for battle in cleaned(tmp_path, *rows)[0]]
    assert {first, second}.isdisjoint(again)
    salted = [[battle["judge"] for battle in cleaned(tmp_path, *rows, salt=b"kept")[0]] for _ in range(2)]
    assert salted[0] == salted[1]


def test_a_battle_counts_once_however_many_lines_tell_of_it(tmp_path: Path) -> None:
    rows = [vote(battle_id="b1"), vote("rightvote", battle_id="b1"), vote(battle_id="b2"), vote(), vote()]
    battles, tally = cleaned(tmp_path, *rows)
    assert [battle["winner"] for battle in battles] == ["model_a"] * 3
    assert tally.dropped == {"duplicate": 2}


def test_a_second_vote_of_fastchat_in_one_conversation_is_another_vote(tmp_path: Path) -> None:
    assert len(cleaned(tmp_path, vote(), vote(tstamp=NOON + 9))[0]) == 2


def test_named_battles_count_and_are_not_released(tmp_path: Path) -> None:
    named = vote(models=["ape", "bee"])
    assert one(tmp_path, named)["anony"] is False
    battles, tally = cleaned(tmp_path, named, vote(), mode=Mode.CONV_RELEASE)
    assert [battle["anony"] for battle in battles] == [True]
    assert tally.dropped == {"named": 1}


def test_names_in_the_headings_of_old_logs_are_read(tmp_path: Path) -> None:
    old = vote(models=["<h3>Model A: ape</h3>\n", "<h3>Model B: bee</h3>\n"])
    assert (one(tmp_path, old)["model_a"], one(tmp_path, old)["model_b"]) == ("ape", "bee")


def test_logs_from_before_states_had_names_are_read(tmp_path: Path) -> None:
    left, right = state("ape"), state("bee")
    for each in (left, right):
        del each["model_name"], each["conv_id"]
    assert one(tmp_path, vote(models=["ape", "bee"], left=left, right=right))["model_b"] == "bee"


def test_examples_that_a_template_brings_are_not_what_was_said(tmp_path: Path) -> None:
    shots = state("ape", "Got any ideas?", "Ask ChatGPT.", QUESTION, "Mont Blanc.", offset=2)
    battle = one(tmp_path, vote(left=shots), mode=Mode.CONV_RELEASE)
    assert (battle["turn"], battle["conversation_a"][0]["content"]) == (1, QUESTION)


def test_a_battle_with_images_counts_by_its_words(tmp_path: Path) -> None:
    seen = state("ape", [QUESTION, ["0cc175b9c0f1b6a831c399e269772661"]], "Mont Blanc.")
    battle = one(tmp_path, vote(left=seen), mode=Mode.CONV_RELEASE)
    assert battle["conversation_a"][0] == {"role": "user", "content": seen["messages"][0][1], "num_tokens": 9}


def test_lines_that_are_none_are_counted_and_named(tmp_path: Path) -> None:
    no_states = vote()
    del no_states["states"]
    battles, tally = cleaned(tmp_path, "{torn", no_states, vote(tstamp="noon"), chat(), "", vote())
    assert len(battles) == 1
    assert tally.votes == 1
    path = tmp_path / "2025-11-22-conv.json"
    found = [fault.removeprefix(f"{path}, ") for fault in tally.faults.shown]
    assert [fault.partition(":")[0] for fault in found] == ["line 1", "line 2", "line 3"]
    assert ("states" in found[1], "tstamp" in found[2], tally.faults.count) == (True, True, 3)


def test_what_a_fault_says_has_nothing_of_what_people_said(tmp_path: Path) -> None:
    broken = vote(left=state("ape", "my secret", {"not": "text"}))
    _, tally = cleaned(tmp_path, broken, '{"type": "leftvote", "my secret')
    assert tally.faults.count == 2
    assert "secret" not in "".join(tally.faults.shown)


def test_files_are_read_by_their_days_whatever_their_order(tmp_path: Path) -> None:
    days = ("2025-11-23", "2025-11-21", "2025-11-22")
    files = [log_file(tmp_path, vote(right=state(day)), day=day) for day in days]
    assert [battle["model_b"] for battle in clean_battles(files)] == sorted(days)
