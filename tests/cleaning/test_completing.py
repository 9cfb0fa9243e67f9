"""Counts of conversations that rows of FastChat do not bring."""

from __future__ import annotations

from typing import Any

from queuechat.cleaning.completing import completed
from queuechat.leaderboard.measures import prompt_tokens, styles
from tests.leaderboard.synthetic import battle
from tests.leaderboard.test_style import said

RICH = "# Title\n\n- one\n- **two**\n1. three\n```\n# not\n- not\n**not**\n```\n## End __now__"


def test_counts_are_made_from_conversations_without_code_blocks() -> None:
    one = completed(battle("a", "b", conversation_a=said("hi", RICH), conversation_b=said("hi", "plain words")))
    found = styles(one)
    assert found
    assert found[0][1:] == (2, 3, 2)
    assert found[1] == (2, 0, 0, 0)
    assert found[0][0] > 10
    assert prompt_tokens(one) == 1


def test_what_a_row_says_itself_stays() -> None:
    sides: dict[str, Any] = {
        "conversation_a": said("hi", RICH, num_tokens=9),
        "conversation_b": said("hi", "x", num_tokens=4),
    }
    one = completed(battle("a", "b", **sides, conv_metadata={"header_count_a": {"h1": 50}}))
    found = styles(one)
    assert found
    assert (found[0][0], found[0][1], found[1][0], prompt_tokens(one)) == (9, 50, 4, 9)
    assert completed(one) is one


def test_rows_without_conversations_are_left_as_they_are() -> None:
    bare = battle("a", "b")
    assert completed(bare) is bare
    silent = completed(battle("a", "b", conversation_a=said("hi", "x"), conversation_b=({"role": "user"},)))
    assert styles(silent)
