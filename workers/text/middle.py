"""Filling in the middle: prompts of models that were trained to write what stands between two texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: What begins the text before, the text after, and what is to be written; by family.
_FAMILIES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
)


@dataclass(frozen=True, slots=True)
class Middle:
    """The ids of the three tokens."""

    prefix: int
    suffix: int
    middle: int

    def around(self, before: list[int], after: list[int]) -> list[int]:
        """The prompt whose answer stands between the two."""
        return [self.prefix, *before, self.suffix, *after, self.middle]


def middle_of(id_of: Callable[[str], int | None]) -> Middle | None:
    """The tokens of the first family that a vocabulary has all of."""
    for family in _FAMILIES:
        prefix, suffix, middle = map(id_of, family)
        if prefix is not None and suffix is not None and middle is not None:
            return Middle(prefix, suffix, middle)
    return None
