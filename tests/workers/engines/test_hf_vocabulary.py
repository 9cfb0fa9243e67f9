"""Special tokens of a Hugging Face tokenizer."""

from __future__ import annotations

import pytest

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")


def test_special_tokens_are_kept_where_they_are_needed_but_never_those_that_end_an_answer() -> None:
    from workers.engines.hf_vocabulary import HFVocabulary

    model = tokenizers.models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")
    inner = tokenizers.Tokenizer(model)
    inner.add_special_tokens(["[TOOL_CALLS]", "<end>"])
    plain = HFVocabulary(transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>"))
    kept = plain.keeping({"[TOOL_CALLS]", "<end>", "<absent>"})
    assert kept.decode([3, 0, 1, 3, 4]) == "[TOOL_CALLS]a b[TOOL_CALLS]"
    assert plain.decode([3, 0, 1, 3, 4]) == "a b"


def test_the_bytes_of_tokens_are_known_where_a_space_is_written_as_a_mark() -> None:
    from tests.workers.engines.tiny_seq2seq import marked_tokenizer
    from workers.engines.hf_vocabulary import HFVocabulary

    vocabulary = HFVocabulary(marked_tokenizer(), size=100)
    ids = vocabulary.encode("the fox over Grüße", add_special=True)
    pieces = [vocabulary.bytes_of(id) for id in ids]
    assert b"".join(pieces[:-1]).decode() == " " + vocabulary.decode(ids)
    assert pieces[-1] == b"</s>"
