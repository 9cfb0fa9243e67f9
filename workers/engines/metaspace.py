"""Tokenizers that write a space as "▁" (T5's and mBART's), for llguidance, which reads other kinds by itself."""

from __future__ import annotations

from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper
from tokenizers import Tokenizer
from tokenizers.normalizers import Sequence
from tokenizers.pre_tokenizers import Metaspace

_SPACE = "▁"


class _Words:
    """What llguidance asks a tokenizer that it does not know: the bytes of each id, and the ids of a text."""

    bos_token_id = None

    def __init__(self, tokenizer: Any, size: int, eos: int):
        # What llguidance has tokenized is the middle of a text: nothing may be put before it or be changed in it.
        self._middle = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._middle.pre_tokenizer = Metaspace(prepend_scheme="never")
        self._middle.normalizer = Sequence([])
        self.eos_token_id = eos
        names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        words = [(name or "").replace(_SPACE, " ").encode() for name in names]
        self.tokens = (words + [b""] * size)[:size]
        self.special_token_ids = [id for id in tokenizer.all_special_ids if id < size]

    def __call__(self, text: bytes) -> list[int]:
        ids: list[int] = self._middle.encode(text.decode(errors="replace"), add_special_tokens=False).ids
        return ids


def writes_metaspace(tokenizer: Any) -> bool:
    """Whether it is such a one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return type(getattr(backend, "decoder", None)).__name__ == "Metaspace"


def lexicon_of(tokenizer: Any, size: int, eos_ids: list[int]) -> Any:
    """An `LLTokenizer` of `size` ids; those that no text has are empty."""
    return LLTokenizer(TokenizerWrapper(_Words(tokenizer, size, eos_ids[0])), eos_token=eos_ids)
