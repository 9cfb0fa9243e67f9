"""A grammar as an llguidance matcher, which follows an answer and knows whether it may end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from queuechat.errors import InvalidRequest
from queuechat.protocol import Grammar
from workers.text.grammar import lark_of

#: A tenth of what llguidance allows: one answer must not keep the steps of all others waiting.
_LIMITS = LLParserLimits(initial_lexer_fuel=100_000, step_lexer_fuel=50_000, max_grammar_size=100_000)
_ERROR = 400  # characters of an error that a user is shown


def compiled(lexicon: Any, grammar: Grammar, *, any_space: bool = False) -> Any:
    """An `LLMatcher` at the beginning of the grammar, over the tokens of an `LLTokenizer`.

    Raises:
        InvalidRequest: of `response_format`, with what llguidance says of the grammar.
    """
    lark = LLMatcher.grammar_from_lark(lark_of(grammar, any_space=any_space))
    matcher = LLMatcher(lexicon, lark, log_level=0, limits=_LIMITS)
    if matcher.is_error():
        why = _said(matcher.get_error(), grammar)
        raise InvalidRequest(f"this {grammar.kind} cannot be used: {why}", param="response_format")
    return matcher


class ByteMatcher:
    """Follows the bytes of an answer, whatever tokens they are cut into; in JSON there may be any space."""

    def __init__(self, grammar: Grammar):
        """Raises InvalidRequest, of `response_format`, for a grammar that cannot be used."""
        self._matcher = compiled(_bytes(), grammar, any_space=True)

    def follow(self, pieces: Iterable[bytes]) -> bool:
        """Whether the grammar allows these bytes next; once it did not, it never does."""
        return bool(self._matcher.consume_tokens(list(b"".join(pieces))))

    @property
    def may_end(self) -> bool:
        return bool(self._matcher.is_accepting())


@cache
def _bytes() -> Any:
    return LLTokenizer("byte")


def _said(error: str, grammar: Grammar) -> str:
    """Without the Lark that we have made of it, where the user has not written Lark."""
    if grammar.kind == "lark":
        return error[:_ERROR]
    return re.sub(r"^at \d+\(\d+\): ", "", error.split("\n   1 | ")[0]).strip()[:_ERROR]
