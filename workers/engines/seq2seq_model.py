"""Encoder-decoder language models of transformers: which are served, how they are loaded, how their answers begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

from queuechat.errors import Misconfigured
from workers.engines.hf_model import WARM_UP, Loaded, device_of, dtype_of
from workers.engines.hf_vocabulary import HFVocabulary

#: Their attention knows distances only, so that answers of all lengths step together, and context ends nowhere.
RELATIVE = frozenset({"t5", "mt5", "umt5"})
#: Their positions are counted from the beginning of the answer, and there are so many.
ABSOLUTE = frozenset({"bart", "mbart"})


@dataclass(frozen=True, slots=True)
class Seq2Seq(Loaded):
    """`opening` is what each answer starts from; `positions` how many tokens prompt and answer may each have, None
    where there is no limit. `context_length` is of both together."""

    opening: tuple[int, ...] = ()
    positions: int | None = None


def is_seq2seq(source: str, revision: str | None = None) -> bool:
    """Whether a folder or Hub id holds such a model. What cannot be read is none: loading it says why."""
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return False
    return bool(config.is_encoder_decoder)


def load_seq2seq(
    source: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    threads: int | None = None,
) -> Seq2Seq:
    """Loads a folder or a Hub id; never code that comes with a model, never pickles.

    Raises:
        Misconfigured: it is not there, is damaged, or is of a kind that is not served; or there is no such device or
            dtype.
    """
    where = device_of(device)
    numbers = dtype_of(dtype, where)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        _refuse_others(config, source)
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            source, revision=revision, dtype=numbers, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise Misconfigured(f"cannot load {source}: {error}") from error
    model = model.eval().requires_grad_(False).to(where)
    vocabulary = HFVocabulary(tokenizer, model.generation_config.eos_token_id, int(config.vocab_size))
    trained = int(getattr(config, "n_positions", None) or getattr(config, "max_position_embeddings", None) or 512)
    limit = trained if config.model_type in ABSOLUTE else None
    return Seq2Seq(model, vocabulary, where, 2 * trained, opening=_opening(model, source), positions=limit)


def answers(model: Any, opening: tuple[int, ...]) -> bool:
    """Whether the model reads what it is warmed up with and goes on in numbers."""
    with torch.inference_mode():
        given = {"input_ids": [WARM_UP], "decoder_input_ids": [list(opening)]}
        tensors = {name: torch.tensor(ids, device=model.device) for name, ids in given.items()}
        return bool(model(**tensors, use_cache=False).logits.amax().isfinite())


def _opening(model: Any, source: str) -> tuple[int, ...]:
    """The decoder's first token, and the one that it is made to say after it where the model's files say so."""
    says, config = model.generation_config, model.config
    start = says.decoder_start_token_id
    start = getattr(config, "decoder_start_token_id", None) if start is None else start
    if start is None:
        raise Misconfigured(f"{source} does not say how an answer begins: its config has no decoder_start_token_id")
    forced = says.forced_bos_token_id
    return (int(start),) if forced is None else (int(start), int(forced))


def _refuse_others(config: Any, source: str) -> None:
    if config.model_type not in RELATIVE | ABSOLUTE:
        raise Misconfigured(
            f"{source} is an encoder-decoder of type {config.model_type!r}; those that are served are "
            f"{', '.join(sorted(RELATIVE | ABSOLUTE))}"
        )
