"""LoRA adapters as peft saves them: adapter_config.json and adapter_model.safetensors, never a pickle.

Only what adds B(A(x)) to the output of a layer is read. Whatever else a configuration asks for would make other answers
than those that the adapter was trained for, so it is refused by its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from queuechat.errors import Misconfigured

Delta = tuple[Tensor, Tensor]
"""A [rank, in] and B [out, rank], which holds the scale."""

_READ = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"}
_CHECKED = {"peft_type", "task_type", "init_lora_weights"}
_OF_TRAINING = {"lora_dropout", "eva_config", "lora_ga_config", "loftq_config", "corda_config", "runtime_config"}
_OF_FILES = {"auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_version", "megatron_core"}
# The tensors tell which layers there are; how the base model lays its weights out is nothing to a sum of outputs.
_TOLD_BY_TENSORS = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"}
_HARMLESS = _READ | _CHECKED | _OF_TRAINING | _OF_FILES | _TOLD_BY_TENSORS | {"qalora_group_size"}
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")  # others change the base model's own weights
_KEY = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<half>[AB])\.weight")


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a folder adds to a model, by the name of the layer; on the CPU, in the numbers of the file."""

    name: str
    deltas: Mapping[str, Delta]


def read_adapter(name: str, folder: Path) -> Adapter:
    """The adapter of a folder.

    Raises:
        Misconfigured: it is not there, is damaged, or asks for what is not supported; the message names it.
    """
    config = _config(name, folder)
    _refuse_unsupported(name, config)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in _tensors(name, folder).items():
        found = _KEY.fullmatch(key)
        if found is None:
            raise Misconfigured(f"adapter {name!r} has a tensor {key!r}; only lora_A and lora_B are supported")
        if not bool(tensor.isfinite().all()):
            raise Misconfigured(f"adapter {name!r} is damaged: {key!r} holds NaN or infinity")
        layers.setdefault(found["layer"], {})[found["half"]] = tensor
    if not layers:
        raise Misconfigured(f"adapter {name!r} is empty: {folder} has no tensors")
    return Adapter(name, {layer: _delta(name, layer, halves, config) for layer, halves in layers.items()})


def _config(name: str, folder: Path) -> dict[str, Any]:
    try:
        config = orjson.loads((folder / "adapter_config.json").read_bytes())
    except FileNotFoundError as error:
        raise Misconfigured(f"adapter {name!r}: there is no {folder}/adapter_config.json, as peft saves it") from error
    except (OSError, ValueError) as error:
        raise Misconfigured(f"adapter {name!r}: adapter_config.json cannot be read: {error}") from error
    if not isinstance(config, dict) or str(config.get("peft_type", "")).upper() != "LORA":
        raise Misconfigured(f"adapter {name!r} is not of the type LORA, the only one that is supported")
    return config


def _refuse_unsupported(name: str, config: Mapping[str, Any]) -> None:
    odd = [key for key, value in config.items() if value and key not in _HARMLESS and (key, value) != ("bias", "none")]
    if config.get("init_lora_weights") not in _STARTS:
        odd.append("init_lora_weights")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        odd.append("task_type")
    if odd:
        told = ", ".join(f"{key}={config[key]!r}"[:100] for key in odd)
        raise Misconfigured(
            f"adapter {name!r} asks for {told}, which is not supported; merge it into its base model "
            "(peft's merge_and_unload) and serve that"
        )


def _tensors(name: str, folder: Path) -> dict[str, Tensor]:
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        hint = "; adapter_model.bin is a pickle, which can run code: save it again with a newer peft" if pickled else ""
        raise Misconfigured(f"adapter {name!r}: there is no {file}{hint}")
    try:
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    except (OSError, SafetensorError) as error:
        raise Misconfigured(f"adapter {name!r}: {file.name} cannot be read: {error}") from error


def _delta(name: str, layer: str, halves: Mapping[str, Tensor], config: Mapping[str, Any]) -> Delta:
    if halves.keys() != {"A", "B"} or any(half.ndim != 2 for half in halves.values()):
        raise Misconfigured(f"adapter {name!r} is damaged: {layer} has not a matrix lora_A and a matrix lora_B")
    a, b = halves["A"], halves["B"]
    rank = a.shape[0]
    if b.shape[1] != rank:
        raise Misconfigured(f"adapter {name!r} is damaged: lora_A and lora_B of {layer} are of different ranks")
    alpha = _of_layer(config.get("alpha_pattern") or {}, layer, config.get("lora_alpha"))
    if not isinstance(alpha, int | float):
        raise Misconfigured(f"adapter {name!r}: adapter_config.json does not say lora_alpha")
    return a, b.to(torch.float32) * (alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _of_layer(pattern: Mapping[str, Any], layer: str, otherwise: Any) -> Any:
    """What a pattern of peft says of a layer: its keys are ends of names, as regular expressions."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", layer)), otherwise)
