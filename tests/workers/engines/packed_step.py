"""What continuous batching says of one step to those that attend in it, for sequences of (new, all) tokens."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

Lengths = Sequence[tuple[int, int]]


def scattered(lengths: Lengths, slots: int) -> list[Any]:
    """The places in a cache of so many slots that each sequence has."""
    sizes = [length for _, length in lengths]
    return list(torch.randperm(slots).split([*sizes, slots - sum(sizes)])[:-1])


def cache_of(keys: Any, values: Any) -> Any:
    """A cache of one layer, [slots, kv_heads, dim] each."""
    return SimpleNamespace(layer_to_allocator=[SimpleNamespace(_kv_token_views=[(keys, values)])])


def bounds(lengths: Lengths, slots: Sequence[Any]) -> dict[str, Any]:
    fresh = all(new == length for new, length in lengths)
    return {
        "cu_seq_lens_q": torch.tensor([0, *(new for new, _ in lengths)]).cumsum(0),
        "cu_seq_lens_k": {"full_attention": torch.tensor([0, *(length for _, length in lengths)]).cumsum(0)},
        "read_index": [torch.cat(slots)[:0] if fresh else torch.cat(slots)],
        "write_index": [torch.cat([own[-new:] for own, (new, _) in zip(slots, lengths, strict=True)])],
    }
