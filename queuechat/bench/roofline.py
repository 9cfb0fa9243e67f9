"""The least time that a machine needs for a model's work: bytes by bandwidth, operations by speed, the greater of both.

    read(B)   = bytes of weights that a step of B sequences reads; of experts those that B tokens are expected to touch
    decode    = max((read(B) + cache bytes of all contexts) / bandwidth, 2 * weights of a token * B / speed)
    prefill   = max((2 * weights of a token * n + attention of n tokens) / speed, read(n) / bandwidth)
    run       = decode of every token in as few steps as its batches allow, and after it (or before) every prefill

A step that both reads prompts and decodes, as continuous batching has them, can do a little better than `run` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from queuechat.errors import InvalidRequest
from workers.shape import Shape


@dataclass(frozen=True, slots=True)
class Roof:
    """A model on a machine: bytes a second, operations a second."""

    shape: Shape
    bytes_per_s: float
    flops: float

    def decode_s(self, batch: int, context: float) -> float:
        """Seconds of one step in which each of `batch` sequences of `context` tokens gets one more."""
        moved = self._read(batch) + batch * self._cache(context)
        return max(moved / self.bytes_per_s, 2 * batch * self._active(head=True) / self.flops)

    def prefill_s(self, tokens: int) -> float:
        """Seconds until the first token of a prompt of so many; logits are made of its last token only."""
        return max(self._prefill_flops(tokens) / self.flops, self._read(tokens) / self.bytes_per_s)

    def run_s(self, asked: Sequence[int], answered: Sequence[int], at_once: int) -> float:
        """Seconds of a whole run: prompts and answers of these lengths, no more than so many of them at a time."""
        decoded = [answer - 1 for answer in answered]  # the first token of each comes from its prompt
        tokens, steps = sum(decoded), max(-(-sum(decoded) // at_once), max(decoded))
        cached = sum(self._cache(prompt + n / 2) * n for prompt, n in zip(asked, decoded, strict=True))
        moved = steps * self._read(max(round(tokens / steps), 1) if steps else 1) + cached
        decode = max(moved / self.bytes_per_s, 2 * tokens * self._active(head=True) / self.flops)
        # Operations alone: prompts that are read together share the weights.
        return decode + sum(self._prefill_flops(prompt) for prompt in asked) / self.flops

    def _prefill_flops(self, tokens: int) -> float:
        shape = self.shape
        products = 2 * self._active(head=False) * tokens + 2 * shape.head_weights
        pairs = sum(_pairs(tokens, window) for window in shape.windows)
        return products + 4 * shape.heads * shape.head_dim * pairs

    def _active(self, *, head: bool) -> float:
        """Weights that one token is multiplied with."""
        shape = self.shape
        chosen = shape.expert_weights * shape.experts_of_token / shape.experts if shape.experts else 0
        return shape.body_weights + chosen + (shape.head_weights if head else 0)

    def _read(self, tokens: int) -> float:
        shape = self.shape
        missed = (1 - shape.experts_of_token / shape.experts) ** tokens if shape.experts else 0
        return shape.body_bytes + shape.head_bytes + shape.expert_bytes * (1 - missed)

    def _cache(self, context: float) -> float:
        """Bytes that one token's attention reads."""
        shape = self.shape
        seen = sum(context if window is None else min(context, window) for window in shape.windows)
        return shape.cache_bytes / shape.layers * seen


def _pairs(tokens: int, window: int | None) -> float:
    """Pairs of a token and one that it looks back on."""
    if window is None or tokens <= window:
        return tokens**2 / 2
    return window**2 / 2 + (tokens - window) * window


@dataclass(frozen=True, slots=True)
class Share:
    """A measured run beside the least time that it could have taken."""

    bound_s: float
    measured_s: float

    @property
    def percent(self) -> float:
        return 100 * self.bound_s / self.measured_s


def share_of(roof: Roof, run: Mapping[str, Any]) -> Share:
    """How near a result of `bench --output` (or vLLM's, saved in detail) came to the limit.

    Raises:
        InvalidRequest: it lacks the lengths of each request.
    """
    try:
        pairs = [(int(a), int(b)) for a, b in zip(run["input_lens"], run["output_lens"], strict=True) if b]
        measured, at_once = float(run["duration"]), int(run["max_concurrent_requests"])
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest(
            "the run has no input_lens, output_lens, duration and max_concurrent_requests: save it with --output",
            param="run",
        ) from None
    if not pairs or measured <= 0:
        raise InvalidRequest("nothing was answered in that run", param="run")
    asked, answered = zip(*pairs, strict=True)
    return Share(roof.run_s(asked, answered, max(at_once, 1)), measured)
