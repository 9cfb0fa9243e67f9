"""What of a model decides how fast it can be: bytes that each step reads, bytes and operations of each token.

Read from its files alone: config.json and the heads of safetensors, or the tables of a GGUF file. No weight is loaded.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from queuechat.errors import Misconfigured

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # computed with in the dtype of the run, whatever the file has
_FP8 = {"F8_E4M3", "F8_E5M2"}
_EMBEDDING = re.compile(r"(embed_tokens|wte|word_embeddings|embed_in)\.weight$|^token_embd\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output)\.weight$")
_ROUTED = re.compile(r"\.experts\.|_exps\.")
_OTHER_SENSES = re.compile(r"(^|\.)(vision|visual|audio|multi_modal|image|mm_)")


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts of a decoder. `body` is what every token passes through, routed experts left out; `head` makes logits."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int | None, ...]  #: tokens that each layer looks back on; None for all
    body_weights: int
    body_bytes: int
    head_weights: int
    head_bytes: int
    experts: int = 0
    experts_of_token: int = 0
    expert_weights: int = 0  #: of all routed experts of all layers
    expert_bytes: int = 0
    cache_item_bytes: int = 2

    @property
    def weights_bytes(self) -> int:
        """All that is read when a step touches every expert."""
        return self.body_bytes + self.head_bytes + self.expert_bytes

    @property
    def cache_bytes(self) -> int:
        """Bytes of cache of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.cache_item_bytes


class _Tensor(NamedTuple):
    name: str
    weights: int
    bytes: int


def read_shape(source: str, dtype: str) -> Shape:
    """The shape of a folder with safetensors, or of a GGUF file; `dtype` is what it is computed in.

    Raises:
        Misconfigured: the files are not there, or tell of a model that is none of these.
    """
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        return _of_gguf(path, dtype)
    if not (path / "config.json").is_file():
        raise Misconfigured(f"{source}: limits are read from a folder with config.json and safetensors, or a GGUF file")
    return _of_folder(path, dtype)


def _of_folder(folder: Path, dtype: str) -> Shape:
    try:
        whole = orjson.loads((folder / "config.json").read_bytes())
        tensors = [tensor for file in sorted(folder.glob("*.safetensors")) for tensor in _safetensors(file, dtype)]
    except (OSError, ValueError, struct.error) as error:
        raise Misconfigured(f"cannot read {folder}: {error}") from None
    if not tensors:
        raise Misconfigured(f"{folder} has no safetensors, whose heads tell how large the model is")
    config = whole.get("text_config") or whole
    if config.get("kv_lora_rank"):
        raise Misconfigured(f"{folder.name} has multi-head latent attention, for which no limits are known here")
    counts = _counts(config)
    tied = whole.get("tie_word_embeddings", config.get("tie_word_embeddings", not _has_head(tensors)))
    experts = next(
        (int(config[k]) for k in ("num_local_experts", "num_experts", "n_routed_experts") if config.get(k)), 0
    )
    chosen = int(config.get("num_experts_per_tok") or 0)
    return _shape(folder.name, counts, _windows(config, counts[0]), tensors, tied, (experts, chosen), ITEM_BYTES[dtype])


def _counts(config: dict[str, Any]) -> tuple[int, int, int, int]:
    """Layers, heads, heads of the cache, numbers of a head."""
    try:
        layers = config.get("num_hidden_layers") or config["n_layer"]
        heads = config.get("num_attention_heads") or config["n_head"]
        width = config.get("hidden_size") or config["n_embd"]
    except KeyError as error:
        raise Misconfigured(f"config.json does not tell {error}: it is none of a decoder") from None
    return layers, heads, config.get("num_key_value_heads") or heads, config.get("head_dim") or width // heads


def _windows(config: dict[str, Any], layers: int) -> tuple[int | None, ...]:
    window, kinds = config.get("sliding_window"), config.get("layer_types")
    if kinds:
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)
    return (window if config.get("use_sliding_window", True) else None,) * layers


def _safetensors(file: Path, dtype: str) -> Iterator[_Tensor]:
    """Format: 8 bytes with the length of a JSON head, the head, the numbers."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        head = orjson.loads(opened.read(length))
    for name, entry in head.items():
        if name == "__metadata__":
            continue
        weights = math.prod(entry["shape"])
        if entry["dtype"] in _FLOATS:
            yield _Tensor(name, weights, weights * ITEM_BYTES[dtype])
        elif entry["dtype"] in _FP8:
            yield _Tensor(name, weights, weights)
        elif weights > 1 << 16:
            raise Misconfigured(
                f"{file.name} has packed weights ({name}: {entry['dtype']}): limits are known of floats, FP8 and GGUF"
            )


def _of_gguf(path: Path, dtype: str) -> Shape:
    from workers.engines.gguf_metadata import read_metadata

    known = read_metadata(path)
    family = known.get("general.architecture", "")

    def told(name: str, default: Any = None) -> Any:
        value = known.get(f"{family}.{name}", default)
        return max(value) if isinstance(value, list) else value

    layers, heads, width = told("block_count"), told("attention.head_count"), told("embedding_length")
    if not (layers and heads and width):
        raise Misconfigured(f"{path.name} does not tell its layers and heads: it is no decoder")
    counts = (layers, heads, told("attention.head_count_kv", heads), told("attention.key_length", width // heads))
    tensors = list(_gguf_tensors(path))
    windows = (told("attention.sliding_window") or None,) * layers
    experts = (told("expert_count", 0), told("expert_used_count", 0))
    # llama.cpp's cache is float16 unless it is told otherwise.
    return _shape(path.stem, counts, windows, tensors, not _has_head(tensors), experts, 2)


def _gguf_tensors(path: Path) -> Iterator[_Tensor]:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise Misconfigured("GGUF files need the gguf package: pip install 'queuechat[llamacpp]'") from None
    for tensor in GGUFReader(path).tensors:
        yield _Tensor(tensor.name, int(tensor.n_elements), int(tensor.n_bytes))


def _has_head(tensors: list[_Tensor]) -> bool:
    return any(_HEAD.search(tensor.name) for tensor in tensors)


def _shape(
    name: str,
    counts: tuple[int, int, int, int],
    windows: tuple[int | None, ...],
    tensors: list[_Tensor],
    tied: bool,
    experts: tuple[int, int],
    cache_item_bytes: int,
) -> Shape:
    """Tied embeddings are read once a step, as the head; others by a row a token, which is nothing."""
    kinds: dict[str, list[_Tensor]] = {"body": [], "head": [], "embedding": [], "expert": []}
    for tensor in tensors:
        if not _OTHER_SENSES.search(tensor.name):
            kinds[_kind(tensor.name, experts[0])].append(tensor)
    head = kinds["embedding"] if tied else kinds["head"]
    return Shape(
        name,
        *counts,
        windows,
        *_sums(kinds["body"]),
        *_sums(head),
        *(experts if kinds["expert"] else (0, 0)),
        *_sums(kinds["expert"]),
        cache_item_bytes,
    )


def _kind(name: str, experts: int) -> str:
    if _EMBEDDING.search(name):
        return "embedding"
    if _HEAD.search(name):
        return "head"
    return "expert" if experts and _ROUTED.search(name) else "body"


def _sums(tensors: list[_Tensor]) -> tuple[int, int]:
    return sum(tensor.weights for tensor in tensors), sum(tensor.bytes for tensor in tensors)
