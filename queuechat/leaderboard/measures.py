"""What is counted in a battle's conversations: tokens of prompts, style of answers, code.

Counts that the battle brings (FastChat's `conv_metadata`, `num_tokens` of a turn, `is_code`) are taken; what it does
not bring is counted here. Without a tokenizer, words and punctuation marks stand for tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from queuechat.leaderboard.battles import CleanBattle

STYLE = ("tokens", "headers", "lists", "bold")  #: what a style is, in this order
Style = tuple[float, float, float, float]

_PIECE = re.compile(r"\w+|[^\w\s]")
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST = re.compile(r"^[ \t]*(?:[-*+]|\d+\.)\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_CODE = re.compile(
    r"```|^\s*(?:def \w+\(|class \w+[(:]|import \w+|from \w+ import |#include\s*<|function \w+\(|SELECT .+ FROM )",
    re.MULTILINE,
)
_FIELDS = ("sum_assistant_{}_tokens", "header_count_{}", "list_count_{}", "bold_count_{}")


def prompts(battle: CleanBattle) -> list[str]:
    """What the voter wrote; both models were asked the same."""
    return _said(battle.conversation_a, "user")


def prompt_tokens(battle: CleanBattle) -> int | None:
    """Tokens of all prompts; None when nothing tells."""
    if (given := _number(battle.conv_metadata.get("sum_user_tokens"))) is not None:
        return int(given)
    return _tokens(battle.conversation_a, "user") if battle.conversation_a else None


def has_code(battle: CleanBattle) -> bool | None:
    """Whether a prompt or an answer has code in it; None when nothing tells."""
    if isinstance(given := battle.more.get("is_code"), bool):
        return given
    if not battle.conversation_a:
        return None
    answers = _said(battle.conversation_a, "assistant") + _said(battle.conversation_b, "assistant")
    return any("```" in text for text in answers) or any(_CODE.search(text) for text in prompts(battle))


def styles(battle: CleanBattle) -> tuple[Style, Style] | None:
    """The style of both models' answers; None when nothing tells."""
    a, b = _style(battle, "a", battle.conversation_a), _style(battle, "b", battle.conversation_b)
    return (a, b) if a and b else None


def _style(battle: CleanBattle, side: str, conversation: tuple[Mapping[str, Any], ...]) -> Style | None:
    given = [_number(battle.conv_metadata.get(name.format(side))) for name in _FIELDS]
    if not any(value is None for value in given):
        return (given[0] or 0, given[1] or 0, given[2] or 0, given[3] or 0)
    if not conversation:
        return None
    text = "\n".join(_FENCED.sub("", answer) for answer in _said(conversation, "assistant"))
    counts = [float(len(pattern.findall(text))) for pattern in (_HEADER, _LIST, _BOLD)]
    return (float(_tokens(conversation, "assistant")), counts[0], counts[1], counts[2])


def _said(conversation: tuple[Mapping[str, Any], ...], role: str) -> list[str]:
    return [_text(turn.get("content")) for turn in conversation if turn["role"] == role]


def _text(content: Any) -> str:
    """The text of a turn: a string, FastChat's [text, images], or OpenAI's list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part if isinstance(part, str) else _text_part(part) for part in content)
    return ""


def _text_part(part: Any) -> str:
    return str(part.get("text", "")) if isinstance(part, dict) else ""


def _tokens(conversation: tuple[Mapping[str, Any], ...], role: str) -> int:
    return sum(
        int(given) if (given := _number(turn.get("num_tokens"))) is not None else len(_PIECE.findall(text))
        for turn in conversation
        if turn["role"] == role
        for text in [_text(turn.get("content"))]
    )


def _number(value: Any) -> float | None:
    """A count, or the sum of FastChat's counts by kind ({"h1": 2, "h2": 0})."""
    if isinstance(value, dict):
        numbers = [_number(part) for part in value.values()]
        return None if any(number is None for number in numbers) else sum(number or 0 for number in numbers)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
