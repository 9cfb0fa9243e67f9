"""Decoder layers of the Llama family within a packed step on the CPU, in half the operations of their own code.

With the few rows of a decode step, what a layer does beside its products (norms, rotations, sums, and the calls of
Python that lead there) costs as much as a product. The weights are those that `packed_linear` has laid out; what is
computed without a paged cache, embeddings for one, goes the layer's own way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workers.engines.packed_attention import attend_packed
from workers.engines.packed_linear import PackedLinear, Part

#: Layers of transformers that differ in nothing but biases and norms of the heads.
FAMILY = frozenset(
    f"transformers.models.{name.lower()}.modeling_{name.lower()}.{name}DecoderLayer"
    for name in ("Llama", "Mistral", "Qwen2", "Qwen3")
)


def make_lean(model: nn.Module) -> None:
    """Takes over the layers that it knows and that are packed as a whole; leaves the others as they are. All of them
    must see the whole context: no sliding window is looked at."""
    for layer in model.modules():
        if f"{type(layer).__module__}.{type(layer).__name__}" in FAMILY and _packed(layer):
            layer.forward = LeanForward(layer)


def _packed(layer: Any) -> bool:
    attention, mlp = layer.self_attn, layer.mlp
    joined = (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj)
    return all(type(one) is Part for one in joined) and all(
        type(one) is PackedLinear for one in (attention.o_proj, mlp.down_proj)
    )


class LeanForward:
    """`forward` of one layer: hidden states [1, tokens, hidden] to the same."""

    def __init__(self, layer: Any):
        attention = layer.self_attn
        self._plain = layer.forward
        self._before, self._between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._qkv, self._o = attention.q_proj.whole, attention.o_proj
        self._gate_up, self._act, self._down = layer.mlp.gate_proj.whole, layer.mlp.act_fn, layer.mlp.down_proj
        self._index, self._dim, self._scaling = attention.layer_idx, attention.head_dim, attention.scaling
        self._queries = attention.q_proj.out_features // self._dim
        self._keys = attention.k_proj.out_features // self._dim
        self._head_norm = _head_norm(attention, self._queries, self._keys)

    def __call__(self, hidden_states: Tensor, *args: Any, cache: Any = None, **step: Any) -> Tensor:
        if cache is None:
            plain: Tensor = self._plain(hidden_states, *args, **step)
            return plain
        x = hidden_states[0]
        x = self._o.plus(self._attended(self._before(x), cache, step), x)
        gate, up = self._gate_up(self._between(x)).chunk(2, dim=-1)
        return self._down.plus(self._act(gate).mul_(up), x)[None]

    def _attended(self, x: Tensor, cache: Any, step: dict[str, Any]) -> Tensor:
        heads = self._qkv(x).view(x.shape[0], -1, self._dim)
        turning, values = heads.split((self._queries + self._keys, self._keys), dim=1)
        if self._head_norm is not None:
            turning = self._head_norm(turning)
        query, key = _rotated(turning, *step["position_embeddings"]).split((self._queries, self._keys), dim=1)
        seen = attend_packed(self._index, query, key, values, self._scaling, cache, step)
        return seen.reshape(x.shape[0], -1)


class _Norm:
    """Root mean square layer normalisation (Zhang & Sennrich, 2019), each head with a weight of its own if asked."""

    def __init__(self, norm: Any, weight: Tensor | None = None):
        self._weight = norm.weight if weight is None else weight
        self._eps = norm.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return (x * x.square().mean(-1, keepdim=True).add_(self._eps).rsqrt_()).mul_(self._weight)


def _head_norm(attention: Any, queries: int, keys: int) -> _Norm | None:
    if not hasattr(attention, "q_norm"):
        return None
    weights = [attention.q_norm.weight.expand(queries, -1), attention.k_norm.weight.expand(keys, -1)]
    return _Norm(attention.q_norm, torch.cat(weights))


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021) of [tokens, heads, dim] by angles of [1, tokens, dim]."""
    return torch.addcmul(heads * cos[0, :, None], heads.roll(heads.shape[-1] // 2, -1), _signed(sin))


def _signed(sin: Tensor) -> Tensor:
    """The sines [tokens, 1, dim], negative where the second half of a head turns into the first. They live with the
    tensor, which is one for all layers of a step."""
    signed: Tensor | None = getattr(sin, "queuechat_signed", None)
    if signed is None:
        half = sin.shape[-1] // 2
        signed = sin.queuechat_signed = torch.cat((-sin[0, :, None, :half], sin[0, :, None, half:]), dim=-1)
    return signed
