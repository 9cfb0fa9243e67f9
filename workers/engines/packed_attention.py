"""Attention over a packed batch on the CPU, one sequence at a time.

Continuous batching lays all sequences of a step end to end and, without a flash kernel, masks every query against
the keys of all the others: a step of B sequences costs B times the attention that it needs. Here each sequence meets
its own keys only. Registered with transformers under `NAME`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

NAME = "queuechat_packed"


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
    key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs)
    out = torch.empty_like(query)
    spans = zip(pairwise(kwargs["cu_seq_lens_q"].tolist()), pairwise(kwargs["cu_seq_lens_k"].tolist()), strict=True)
    for (q0, q1), (k0, k1) in spans:
        out[:, :, q0:q1] = _attend(query[:, :, q0:q1], key[:, :, k0:k1], value[:, :, k0:k1], scaling)
    return out.transpose(1, 2), None


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """One sequence: its last tokens [1, heads, q, dim] look at all of it, [1, kv_heads, k, dim]."""
    heads, tokens, dim = query.shape[1:]
    length, groups = key.shape[2], heads // key.shape[1]
    if tokens == 1:
        # The queries that share a key head stand in for query tokens: no copy of the keys per query head.
        folded = query.reshape(1, -1, groups, dim)
        return scaled_dot_product_attention(folded, key, value, scale=scaling).reshape(1, heads, 1, -1)
    mask = None if tokens == length else torch.ones(tokens, length, dtype=torch.bool).tril(length - tokens)
    return scaled_dot_product_attention(
        query,
        key.repeat_interleave(groups, dim=1),
        value.repeat_interleave(groups, dim=1),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )


AttentionInterface.register(NAME, packed_attention)
