"""Conversations as rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuechat.cleaning.chats import Action, CleanChat, Tally, each_chat
from tests.cleaning.lines import NOON, QUESTION, chat, log_file, state, vote


def cleaned(folder: Path, *rows: Any, action: Action = Action.CHAT) -> tuple[list[CleanChat], Tally]:
    tally = Tally()
    return list(each_chat([log_file(folder, *rows)], action, tally)), tally


def test_a_row_has_the_fields_of_fastchat_s_clean_chats(tmp_path: Path) -> None:
    ((row,), _) = cleaned(tmp_path, chat())
    told: dict[str, Any] = {**row}
    assert len(told.pop("user_id")) == 16
    assert told == {
        "conversation_id": "ape-conv",
        "model": "ape",
        "conversation": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Mont Blanc."}],
        "turn": 1,
        "language": "English",
        "tstamp": NOON,
    }


def test_a_conversation_is_there_once_as_its_last_line_has_it(tmp_path: Path) -> None:
    longer = state("ape", QUESTION, "Mont Blanc.", "How high?", "4,806 m.")
    rows, tally = cleaned(tmp_path, chat(), chat(about=state("bee")), chat(about=longer, tstamp=NOON + 1))
    assert [(row["model"], row["turn"]) for row in rows] == [("bee", 1), ("ape", 2)]
    assert (tally.lines, tally.kept, dict(tally.dropped)) == (3, 2, {"duplicate": 1})


@pytest.mark.parametrize("action", Action)
def test_each_action_is_taken_from_its_own_lines(tmp_path: Path, action: Action) -> None:
    alone = [chat(kind) for kind in ("chat", "upvote", "downvote", "flag")]
    rows, tally = cleaned(tmp_path, *alone, vote("leftvote"), vote("rightvote"), vote("tievote"), action=action)
    assert [row["model"] for row in rows] == ["bee" if action is Action.RIGHT else "ape"]
    assert tally.lines == 1


def test_what_is_no_conversation_is_dropped_with_its_reason(tmp_path: Path) -> None:
    busy = "NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE."
    rows, tally = cleaned(
        tmp_path,
        chat(about=state("ape", conv_id=None)),
        chat(about=state("bee", QUESTION, None)),
        chat(about=state("cat", QUESTION, busy)),
        chat(about=state("dog", offset=2)),
        "{torn",
    )
    assert rows == []
    assert tally.dropped == {"invalid_conv_id": 1, "invalid": 2, "error": 1}
    assert tally.faults.count == 1


def test_people_have_pseudonyms(tmp_path: Path) -> None:
    rows, _ = cleaned(tmp_path, chat(), chat(about=state("bee")), chat(about=state("cat"), ip="198.51.100.9"))
    first, second, third = (row["user_id"] for row in rows)
    assert first == second != third
