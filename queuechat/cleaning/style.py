"""How long an answer is and how it is set: what style control takes out of a rating."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from queuechat.cleaning.schema import text_of

_CODE = re.compile(r"```([^`]*)```")
_COUNTS = {
    "header_count": {f"h{n}": re.compile(rf"^#{{{n}}}\s", re.MULTILINE) for n in range(1, 7)},
    "list_count": {
        "ordered": re.compile(r"^[^\S\n]*\d+\.\s", re.MULTILINE),
        "unordered": re.compile(r"^[^\S\n]*[-*+]\s", re.MULTILINE),
    },
    "bold_count": {"**": re.compile(r"\*\*[^*\n]+\*\*"), "__": re.compile(r"__[^_\n]+__")},
}
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# A syllable's worth of letters: tokenisers cut long words, and few short ones.
_PIECE = re.compile(rf"[{_CJK}]|[^\W\d_{_CJK}]{{1,8}}|\d{{1,3}}|[^\w\s]+|_+|\n+")


def count_tokens(text: str) -> int:
    """An estimate that is the same for all models: words (long ones as several), numbers by threes, runs of punctuation
    and of line breaks, and each Chinese or Japanese character. FastChat counts the tokens of gpt-3.5-turbo, whose
    vocabulary has to be fetched from elsewhere."""
    return len(_PIECE.findall(text))


def with_tokens(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each message with its `num_tokens`."""
    return [{**message, "num_tokens": count_tokens(text_of(message["content"]))} for message in conversation]


def metadata(a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """FastChat's `conv_metadata` of two conversations that `with_tokens` has counted."""
    counts: dict[str, Any] = {
        "sum_user_tokens": _tokens(a, "user"),
        "sum_assistant_a_tokens": _tokens(a, "assistant"),
        "sum_assistant_b_tokens": _tokens(b, "assistant"),
        "turns": len(a) // 2,
    }
    for suffix, conversation in (("a", a), ("b", b)):
        answers = [text_of(message["content"]) for message in conversation if message["role"] == "assistant"]
        counts |= markdown(_without_code("\n".join(answers)), suffix)
    return counts


def markdown(text: str, suffix: str) -> dict[str, dict[str, int]]:
    """How many headers, list items and bold words there are, by kind."""
    return {
        f"{name}_{suffix}": {kind: len(pattern.findall(text)) for kind, pattern in kinds.items()}
        for name, kinds in _COUNTS.items()
    }


def _without_code(text: str) -> str:
    """As FastChat does it: what is between the fences goes, wherever it stands."""
    for block in _CODE.findall(text):
        text = text.replace(block, "")
    return text


def _tokens(conversation: Sequence[dict[str, Any]], role: str) -> int:
    return sum(message["num_tokens"] for message in conversation if message["role"] == role)
