"""Model folders with heads and no numbers: what limits are read from."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

_BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "I32": 4}


def a_folder(folder: Path, config: Mapping[str, object], tensors: Mapping[str, tuple[str, Sequence[int]]]) -> str:
    """config.json, and model.safetensors whose tensors (dtype, shape) take no room on the disk."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    head, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * _BYTES[dtype]
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}  # type: ignore[dict-item]
    raw = json.dumps(head).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)
    return str(folder)


DENSE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
LAYERS: dict[str, tuple[str, Sequence[int]]] = {
    "model.layers.0.self_attn.q_proj.weight": ("BF16", [64, 64]),
    "model.layers.1.self_attn.q_proj.weight": ("BF16", [64, 64]),
    "model.norm.weight": ("BF16", [64]),
}
EMBEDDING: dict[str, tuple[str, Sequence[int]]] = {"model.embed_tokens.weight": ("BF16", [100, 64])}
HEAD: dict[str, tuple[str, Sequence[int]]] = {"lm_head.weight": ("BF16", [100, 64])}
