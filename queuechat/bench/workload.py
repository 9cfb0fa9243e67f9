"""What is asked: prompts and the lengths of their answers, the same for the same seed, no two prompts alike."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from queuechat.bench.lengths import Lengths
from queuechat.bench.words import WORDS
from queuechat.errors import InvalidRequest

_TAG = 3  # tokens at the head of a prompt that tell its number: 2 million prompts differ within them


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. The prompt is text, token ids or a conversation; its answer has `output_len` tokens at most."""

    prompt: str | list[int] | list[dict[str, Any]]
    output_len: int


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Random prompts. `input_len` counts words, or ids where a range of `ids` (low, high: both included) is given.

    `shared_prefix` more of them stand before each prompt, the same for all; what follows differs from its first word
    on, so that a server's prefix cache finds the shared part and nothing else.
    """

    input_len: Lengths
    output_len: Lengths
    shared_prefix: int = 0
    ids: tuple[int, int] | None = None

    def asks(self, count: int, seed: int) -> list[Ask]:
        lengths, answers = random.Random(f"{seed}/input"), random.Random(f"{seed}/output")
        content = random.Random(f"{seed}/content")
        alphabet = self._alphabet()
        content.shuffle(alphabet)
        prefix = content.choices(alphabet, k=self.shared_prefix)
        made = []
        for number in range(count):
            length = self.input_len.draw(lengths)
            tag = _digits(number, alphabet)[:length]
            rest = content.choices(alphabet, k=length - len(tag))
            made.append(Ask(self._joined([*prefix, *tag, *rest]), self.output_len.draw(answers)))
        return made

    def _alphabet(self) -> list[Any]:
        return list(WORDS) if self.ids is None else list(range(self.ids[0], self.ids[1] + 1))

    def _joined(self, symbols: list[Any]) -> str | list[int]:
        return " ".join(symbols) if self.ids is None else symbols


def _digits(number: int, alphabet: list[Any]) -> list[Any]:
    """The number in the alphabet's base, its fastest digit first: neighbours differ at once."""
    digits = []
    for _ in range(_TAG):
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return digits


def parse_ids(text: str) -> tuple[int, int]:
    """`LOW:HIGH`, both included.

    Raises:
        InvalidRequest: it is no range of token ids.
    """
    low, _, high = text.partition(":")
    if not (low.isdecimal() and high.isdecimal() and int(low) < int(high)):
        raise InvalidRequest(f"--token-ids {text!r} is no range: use LOW:HIGH, as 1000:30000", param="token_ids")
    return int(low), int(high)
