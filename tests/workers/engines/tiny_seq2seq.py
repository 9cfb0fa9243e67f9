"""Encoder-decoder models with random weights, small enough to be made in a test: the real classes, a real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "once upon a time there was a river",
    "what is in the picture",
]
SIZE = 352  #: of the vocabulary; more than the tokenizer has, as T5's


def t5(folder: Path, kind: str = "T5", *, marked: bool = False) -> Path:
    """Relative positions: any length. `kind` is T5, MT5 or UMT5; with a `marked` tokenizer, as the real ones have."""
    transformers = pytest.importorskip("transformers")
    tokenizer = marked_tokenizer() if marked else _tokenizer()
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=SIZE,
        d_model=32,
        d_kv=16,
        d_ff=48,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=32,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return _saved(folder, getattr(transformers, f"{kind}ForConditionalGeneration"), config, tokenizer)


def bart(folder: Path, positions: int = 64) -> Path:
    """Positions that are counted, and a first token that is always said."""
    transformers = pytest.importorskip("transformers")
    tokenizer = _tokenizer()
    layers = {"layers": 2, "attention_heads": 2, "ffn_dim": 48}
    config = transformers.BartConfig(
        vocab_size=SIZE,
        d_model=32,
        max_position_embeddings=positions,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in layers.items()},
        decoder_start_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.convert_tokens_to_ids("<s>"),
        forced_eos_token_id=None,
        tie_word_embeddings=False,
    )
    forced = {"forced_bos_token_id": tokenizer.convert_tokens_to_ids("<s>")}
    return _saved(folder, transformers.BartForConditionalGeneration, config, tokenizer, **forced)


def _tokenizer() -> Any:
    """Of bytes, as BART's; it ends a text with "</s>", as T5's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=322, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<pad>", "</s>", "<s>"]
    )
    bpe.train_from_iterator(_CORPUS, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>", pad_token="<pad>")


def marked_tokenizer() -> Any:
    """Of pieces that begin with "▁" where a space was, as those of T5."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90,
        initial_alphabet=[*'abcdefghijklmnopqrstuvwxyzGüß{}[],:"0123456789'],
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
    )
    unigram.train_from_iterator(_CORPUS, trainer)
    unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=unigram, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def _saved(folder: Path, kind: Any, config: Any, tokenizer: Any, **generation: Any) -> Path:
    import torch

    torch.manual_seed(4)
    model = kind(config).eval()
    for weights in model.parameters():
        if weights.dim() > 1:  # so large that logits are far apart: with small ones all tokens are about as likely
            torch.nn.init.normal_(weights, std=0.4)
    model.generation_config.update(**generation)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
