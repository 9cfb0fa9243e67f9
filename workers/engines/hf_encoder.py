"""Encoders of transformers that read in both directions (BERT and its kin), and how their vectors are made.

How the states of an input become one vector is told by sentence-transformers' files beside the model; without them it
is their mean. Vectors are always of length one. Prompts that a model card may recommend are the caller's to write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import cached_file

from queuechat.errors import Misconfigured
from workers.engines.hf_model import by_length, device_of, dtype_of
from workers.engines.hf_vocabulary import HFVocabulary

_WRITES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda states: states[:, 0],
    "mean": lambda states: states.mean(dim=1),
    "max": lambda states: states.amax(dim=1),
    "lasttoken": lambda states: states[:, -1],
}
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}
_HARMLESS = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True)
class Encoder:
    """A model on its device. `pooling` is a key of what it may be, `context_length` in tokens."""

    model: Any
    vocabulary: HFVocabulary
    device: str
    context_length: int
    pooling: str


def is_encoder(source: str, revision: str | None = None) -> bool:
    """Whether a folder or Hub id holds such a model. What cannot be read is none: loading it says why."""
    if source.endswith(".gguf"):
        return False
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return False
    writes = any(name.endswith(_WRITES) for name in config.architectures or ())
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return masked and not (writes or config.is_encoder_decoder or getattr(config, "is_decoder", False))


def load_encoder(
    source: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    threads: int | None = None,
) -> Encoder:
    """Loads a folder or a Hub id; never code that comes with a model, never pickles.

    Raises:
        Misconfigured: it is damaged, makes its vectors in a way that is not known here, or there is no such device or
            dtype.
    """
    where, numbers = device_of(device), dtype_of(dtype, device_of(device))
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        pooling = _pooling(source, revision)
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        model = AutoModel.from_pretrained(
            source, revision=revision, dtype=numbers, use_safetensors=True, trust_remote_code=False
        )
        length = _length(model, tokenizer, _settings(source, revision, "sentence_bert_config.json"))
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise Misconfigured(f"cannot load {source}: {error}") from error
    model = model.eval().requires_grad_(False).to(where)
    return Encoder(model, HFVocabulary(tokenizer, size=int(model.config.vocab_size)), where, length, pooling)


def encoded(encoder: Encoder, batch: Sequence[Sequence[int]]) -> list[list[float]]:
    """One vector of length one, in float32, for each input, in order.

    Inputs of one length share a forward pass, so that nothing is padded and none depends on its neighbours' lengths.
    """
    vectors: dict[int, list[float]] = {}
    with torch.inference_mode():
        for indices in by_length(batch):
            ids = torch.tensor([list(batch[i]) for i in indices], device=encoder.model.device)
            states = encoder.model(input_ids=ids).last_hidden_state.float()
            pooled = torch.nn.functional.normalize(_POOLINGS[encoder.pooling](states), dim=-1)
            vectors.update(zip(indices, pooled.tolist(), strict=True))
    return [vectors[i] for i in range(len(batch))]


def _pooling(source: str, revision: str | None) -> str:
    modules = _settings(source, revision, "modules.json") or []
    kinds = {str(module["type"]).rsplit(".", 1)[-1]: str(module["path"]) for module in modules}
    if odd := sorted(kinds.keys() - set(_HARMLESS)):
        raise Misconfigured(f"{source} makes its vectors with {', '.join(odd)}, which is not supported")
    if "Pooling" not in kinds:
        return "mean"
    settings: dict[str, Any] = _settings(source, revision, f"{kinds['Pooling']}/config.json") or {}
    found = [_FLAGS.get(name, name) for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    found = found or [str(settings.get("pooling_mode", "mean"))]
    if len(found) != 1 or found[0] not in _POOLINGS:
        raise Misconfigured(f"{source} pools by {' and '.join(found)}; only one of {', '.join(_POOLINGS)} is supported")
    return found[0]


def _length(model: Any, tokenizer: Any, settings: Any) -> int:
    """How many tokens an input may have, its special ones included. Some models keep their first positions free."""
    config = model.config
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    free = 0 if padding is None else padding + 1
    limits = [
        getattr(config, "max_position_embeddings", free) - free,
        tokenizer.model_max_length,
        (settings or {}).get("max_seq_length"),
    ]
    return int(min(limit for limit in limits if limit))


def _settings(source: str, revision: str | None, name: str) -> Any:
    """The content of a JSON file beside the model; None when there is none."""
    path = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(path).read_text("utf-8")) if path else None
