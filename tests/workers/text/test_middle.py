"""Filling in the middle, as each family of models was trained to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Self

import pytest

from queuechat.errors import UnsupportedParameter
from queuechat.protocol import Job
from workers.engines.echo import EchoVocabulary
from workers.prompting import Speech

QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


class Words(EchoVocabulary):
    """Echo's, with more tokens from 1000 on."""

    def __init__(self, *more: str):
        super().__init__()
        self._more = more

    def id_of(self, token: str) -> int | None:
        return 1000 + self._more.index(token) if token in self._more else super().id_of(token)

    def keeping(self, words: Collection[str]) -> Self:
        return self

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode([id for id in ids if id < 1000])


@pytest.mark.parametrize(
    "family", [QWEN, ("▁<PRE>", "▁<SUF>", "▁<MID>"), ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")]
)
def test_what_stands_before_and_after_is_told_in_the_model_s_own_tokens(family: tuple[str, str, str]) -> None:
    ids = Speech(Words(*family), "").ids_of(Job("a", "m", prompt="b", suffix="c"))
    assert ids == [1000, 1 + ord("b"), 1001, 1 + ord("c"), 1002]


@pytest.mark.parametrize("known", [(), QWEN[:2]])
def test_a_model_that_lacks_one_of_them_does_not_fill_in(known: Sequence[str]) -> None:
    with pytest.raises(UnsupportedParameter, match="fill in the middle"):
        Speech(Words(*known), "").ids_of(Job("a", "m", prompt="b", suffix="c"))
