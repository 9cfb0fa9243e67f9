"""Attention over a packed batch on the CPU, where each sequence meets its own keys only.

Continuous batching lays all sequences of a step end to end and, without a flash kernel, masks every query against
the keys of all the others: a step of B sequences costs B times the attention that it needs. Here those that add one
token are attended together, padded to the longest of about their length; those that read a prompt, one by one.
Registered with transformers under `NAME`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

NAME = "queuechat_packed"


@dataclass(frozen=True, slots=True)
class _Long:
    """A sequence that reads `q1 - q0` tokens; `slots` are those of its keys in the cache, None where these tokens are
    all that there is."""

    q0: int
    q1: int
    slots: Tensor | None


@dataclass(frozen=True, slots=True)
class _Short:
    """Sequences that add one token each. `rows` [n] are their places among the queries, None when they are all of these
    in order; `slots` [n * keys] those of their keys in the cache, `mask` [n, 1, 1, keys] which of these are theirs."""

    count: int
    rows: Tensor | None
    slots: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one step attends to; the same in all layers."""

    write: Tensor
    longs: list[_Long]
    shorts: list[_Short]


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cache: Any = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of [1, heads, tokens, dim] queries with the paged cache; plain SDPA where there is no cache.

    Keys and values come as [1, kv_heads, tokens, dim]. Returns [1, tokens, heads, dim].

    Raises:
        ValueError: the model wants soft-capped or biased scores, which SDPA cannot give.
    """
    if kwargs.get("softcap") is not None or kwargs.get("position_bias") is not None:
        raise ValueError("soft-capped or biased attention is not supported on the CPU")
    if cache is None:
        answer: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return answer
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return attend_packed(module.layer_idx, queries, keys, values, scaling, cache, kwargs)[None], None


def attend_packed(
    layer: int, queries: Tensor, keys: Tensor, values: Tensor, scaling: float | None, cache: Any, step: dict[str, Any]
) -> Tensor:
    """What the queries [tokens, heads, dim] of a step see, of the same shape; keys and values [tokens, kv_heads, dim]
    join the cache of the layer. `step` holds what continuous batching says of the sequences."""
    plan = _plan_of(step)
    cached_keys, cached_values = cache.layer_to_allocator[layer]._kv_token_views[layer]
    cached_keys.index_copy_(0, plan.write, keys)
    cached_values.index_copy_(0, plan.write, values)
    out = queries.new_empty(queries.shape)
    for long in plan.longs:
        span, slots = slice(long.q0, long.q1), long.slots
        own = (keys[span], values[span]) if slots is None else (cached_keys[slots], cached_values[slots])
        out[span] = _attend(queries[span], *own, scaling)
    for short in plan.shorts:
        shape = (short.count, -1, *cached_keys.shape[1:])
        seen_keys = cached_keys.index_select(0, short.slots).view(shape)
        seen_values = cached_values.index_select(0, short.slots).view(shape)
        if short.rows is None:
            return _attend_ones(queries, seen_keys, seen_values, short.mask, scaling)
        out[short.rows] = _attend_ones(queries[short.rows], seen_keys, seen_values, short.mask, scaling)
    return out


def _plan_of(step: dict[str, Any]) -> _Plan:
    """Made in the first layer of a step. It lives with the bounds of the step, a tensor that is made for each."""
    bounds = step["cu_seq_lens_q"]
    plan: _Plan | None = getattr(bounds, "queuechat_plan", None)
    if plan is None:
        (lengths,) = step["cu_seq_lens_k"].values()
        (read,), (write,) = step["read_index"], step["write_index"]
        plan = bounds.queuechat_plan = _plan(bounds.tolist(), lengths.tolist(), read, write.clone())
    return plan


def _plan(queries: Sequence[int], keys: Sequence[int], read: Tensor, write: Tensor) -> _Plan:
    """`queries` and `keys` are the bounds of the sequences, `read` the slots of all keys, empty where no sequence has
    any from before, `write` those of the new ones."""
    longs: list[_Long] = []
    ones: list[tuple[int, int, int]] = []
    for (q0, q1), (k0, k1) in zip(pairwise(queries), pairwise(keys), strict=True):
        if q1 - q0 == 1:
            ones.append((q0, k0, k1))
        elif q1 > q0:
            longs.append(_Long(q0, q1, read[k0:k1].clone() if read.numel() else None))
    return _Plan(write, longs, list(_shorts(ones, read if read.numel() else write, queries[-1])))


def _shorts(ones: list[tuple[int, int, int]], slots: Tensor, rows: int) -> Iterator[_Short]:
    """Those of about one length together: at most half of what is looked at is padding. `rows` are all queries."""
    ones.sort(key=lambda one: one[2] - one[1])
    for _, group in groupby(ones, lambda one: (one[2] - one[1] - 1).bit_length()):
        members = sorted(group)
        starts = torch.tensor([k0 for _, k0, _ in members])[:, None]
        lengths = torch.tensor([k1 - k0 for _, k0, k1 in members])[:, None]
        columns = torch.arange(int(lengths.max()))[None]
        inside = columns < lengths
        own = slots[torch.where(inside, starts + columns, starts)]
        places = None if len(members) == rows else torch.tensor([row for row, _, _ in members])
        yield _Short(len(members), places, own.flatten(), inside[:, None, None])


def _attend_ones(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None) -> Tensor:
    """One query [n, heads, dim] of each sequence looks at the keys [n, keys, kv_heads, dim] of its own."""
    n, heads, dim = query.shape
    # The queries that share a key head stand in for query tokens: no copy of the keys per query head.
    folded = query.reshape(n, key.shape[2], -1, dim)
    seen = scaled_dot_product_attention(folded, key.transpose(1, 2), value.transpose(1, 2), mask, scale=scaling)
    return seen.reshape(n, heads, dim)


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """One sequence: its last tokens [q, heads, dim] look at all of it, [k, kv_heads, dim]."""
    tokens, heads, _ = query.shape
    length, groups = key.shape[0], heads // key.shape[1]
    mask = None if tokens == length else torch.ones(tokens, length, dtype=torch.bool).tril(length - tokens)
    seen = scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        key.transpose(0, 1).repeat_interleave(groups, dim=0)[None],
        value.transpose(0, 1).repeat_interleave(groups, dim=0)[None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )
    return seen[0].transpose(0, 1)


AttentionInterface.register(NAME, packed_attention)
