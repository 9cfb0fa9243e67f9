"""What is known of a battle's conversations: tokens of prompts, style of answers, code.

Counts are those of FastChat's `conv_metadata`; who reads rows without it has them counted first
(`queuechat.cleaning.completing`). What nothing tells is None, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from queuechat.leaderboard.battles import CleanBattle

STYLE = ("tokens", "headers", "lists", "bold")  #: what a style is, in this order
Style = tuple[float, float, float, float]

_CODE = re.compile(
    r"```|^\s*(?:def \w+\(|class \w+[(:]|import \w+|from \w+ import |#include\s*<|function \w+\(|SELECT .+ FROM )",
    re.MULTILINE,
)
_FIELDS = ("sum_assistant_{}_tokens", "header_count_{}", "list_count_{}", "bold_count_{}")


def prompts(battle: CleanBattle) -> list[str]:
    """What the voter wrote; both models were asked the same."""
    return _said(battle.conversation_a, "user")


def prompt_tokens(battle: CleanBattle) -> float | None:
    """Tokens of all prompts."""
    return _number(battle.conv_metadata.get("sum_user_tokens"))


def has_code(battle: CleanBattle) -> bool | None:
    """Whether a prompt or an answer has code in it."""
    if isinstance(given := battle.more.get("is_code"), bool):
        return given
    if not battle.conversation_a:
        return None
    answers = _said(battle.conversation_a, "assistant") + _said(battle.conversation_b, "assistant")
    return any("```" in text for text in answers) or any(_CODE.search(text) for text in prompts(battle))


def styles(battle: CleanBattle) -> tuple[Style, Style] | None:
    """The style of both models' answers."""
    a, b = (_style(battle.conv_metadata, side) for side in "ab")
    return (a, b) if a and b else None


def _style(metadata: Mapping[str, Any], side: str) -> Style | None:
    counts = [_number(metadata.get(name.format(side))) for name in _FIELDS]
    if any(count is None for count in counts):
        return None
    tokens, headers, lists, bold = (count or 0.0 for count in counts)
    return tokens, headers, lists, bold


def _said(conversation: tuple[Mapping[str, Any], ...], role: str) -> list[str]:
    return [_text(turn.get("content")) for turn in conversation if turn["role"] == role]


def _text(content: Any) -> str:
    """The text of a turn: a string, or FastChat's [text, images]."""
    if isinstance(content, list):
        return "\n".join(part for part in content if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _number(value: Any) -> float | None:
    """A count, or the sum of FastChat's counts by kind ({"h1": 2, "h2": 0})."""
    if isinstance(value, dict):
        numbers = [_number(part) for part in value.values()]
        return None if any(number is None for number in numbers) else sum(number or 0 for number in numbers)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
