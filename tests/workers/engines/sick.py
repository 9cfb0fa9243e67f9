"""A tiny model, and what is wrong with one of its tokens. Both torch and vLLM have kernels for its heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workers.engines.conftest import weights

CURSED = 4242  # a token whose embedding is NaN
SOUND = list(range(10, 20))


def tiny() -> Any:
    """Two layers with random weights, for the vocabulary of the small model."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(
        vocab_size=49_152, max_position_embeddings=512, tie_word_embeddings=False, **sizes, **heads
    )
    return transformers.LlamaForCausalLM(config)


def saved(model: Any, folder: Path) -> Path:
    """The folder, with the model and the tokenizer of the small one in it."""
    from transformers import AutoTokenizer

    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(weights()).save_pretrained(folder)
    return folder


def cursed_model(folder: Path) -> Path:
    """A model file in which one token's embedding is not a number."""
    model = tiny()
    model.model.embed_tokens.weight.data[CURSED] = float("nan")
    return saved(model, folder)


def boundless_model(folder: Path) -> Path:
    """One whose last logit is beyond all that float16 holds, above or below, while nothing before it is."""
    model = tiny().half()
    model.lm_head.weight.data[-1] = 60_000.0
    return saved(model, folder)
