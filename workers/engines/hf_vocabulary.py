"""The `Vocabulary` of a model that comes with a Hugging Face tokenizer."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any, Self

from llguidance.hf import from_tokenizer

from workers.engines.metaspace import lexicon_of, writes_metaspace


class HFVocabulary:
    """Wraps a tokenizer of transformers.

    `generation_eos` is `eos_token_id` of the model's generation config: chat models list their end of turn there,
    while the tokenizer may only know the end of text. `size` is that of the model's logits, which may be more than the
    tokenizer has.
    """

    waits = False

    def __init__(self, tokenizer: Any, generation_eos: int | Iterable[int] | None = None, size: int | None = None):
        self._tokenizer = tokenizer
        self._kept: dict[int, str] = {}
        self._size = size
        self.eos_ids = frozenset(_ids(tokenizer.eos_token_id)) | frozenset(_ids(generation_eos))
        self.chat_template = _default_template(tokenizer.chat_template)
        self.special_tokens = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if not isinstance(v, list)}

    def __len__(self) -> int:
        return self._size or len(self._tokenizer)

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special)
        return ids

    def keeping(self, words: Collection[str]) -> Self:
        ids = {word: self._tokenizer.convert_tokens_to_ids(word) for word in words}
        kept = {
            id: word
            for word, id in ids.items()
            if id is not None and self._tokenizer.convert_ids_to_tokens(id) == word and not self.decode([id])
        }
        other = copy.copy(self)
        other._kept = {id: word for id, word in kept.items() if id not in self.eos_ids}
        return other

    def decode(self, ids: Sequence[int]) -> str:
        if self._kept.keys().isdisjoint(ids):
            return self._plain(ids)
        runs = itertools.groupby(ids, key=self._kept.get)
        return "".join(word * len(list(run)) if word else self._plain(list(run)) for word, run in runs)

    def _plain(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def id_of(self, token: str) -> int | None:
        id: int | None = self._tokenizer.convert_tokens_to_ids(token)
        return id if id is not None and self._tokenizer.convert_ids_to_tokens(id) == token else None

    def bytes_of(self, id: int) -> bytes:
        piece: bytes = self.lexicon.decode_bytes([id])
        return piece

    @cached_property
    def lexicon(self) -> Any:
        """An `LLTokenizer`: the bytes of each token; made in about a second.

        Raises:
            ValueError: llguidance cannot read this kind of tokenizer.
        """
        if writes_metaspace(self._tokenizer) and self.eos_ids:
            return lexicon_of(self._tokenizer, len(self), sorted(self.eos_ids))
        return from_tokenizer(self._tokenizer, n_vocab=self._size, eos_token=sorted(self.eos_ids) or None)


def _ids(eos: int | Iterable[int] | None) -> Iterable[int]:
    if eos is None:
        return ()
    return (eos,) if isinstance(eos, int) else eos


def _default_template(template: str | dict[str, str] | None) -> str | None:
    return template.get("default") if isinstance(template, dict) else template
