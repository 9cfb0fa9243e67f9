"""The log probabilities of a completion: four lists, an entry for each token, as lm-eval and older clients read."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from queuechat.protocol import Chunk, End, Logprob


class Likely:
    """Of one choice, in order. Offsets count characters of its text, the echoed prompt included."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at = 0

    def lists(self, logprobs: Sequence[Logprob]) -> dict[str, list[Any]]:
        """Of tokens that follow those of the last call. The first of a prompt has neither logprob nor alternatives."""
        offsets = []
        for one in logprobs:
            offsets.append(self._at)
            self._at += len(self._decoder.decode(one.token))
        return {
            "tokens": [_spelled(one.token) for one in logprobs],
            "token_logprobs": [one.logprob for one in logprobs],
            "top_logprobs": [_alternatives(one) for one in logprobs],
            "text_offset": offsets,
        }


def text_of(logprobs: Sequence[Logprob]) -> str:
    """The text that tokens write."""
    return b"".join(one.token for one in logprobs).decode("utf-8", "replace")


def mean(logprobs: Sequence[Logprob]) -> float:
    """How likely an answer is, for its length; one of no tokens, or of which nothing is known, comes last."""
    known = [one.logprob for one in logprobs if one.logprob is not None]
    return sum(known) / len(known) if known else float("-inf")


def told_by(event: Chunk | End) -> list[Logprob]:
    """All that an event says, the prompt's first."""
    return [*event.prompt, *(event.logprobs if isinstance(event, Chunk) else ())]


def _alternatives(one: Logprob) -> dict[str, float] | None:
    if one.logprob is None:
        return None
    return {_spelled(token): value for token, value in one.top}


def _spelled(token: bytes) -> str:
    """Its text; a part of a character as OpenAI spells it."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
