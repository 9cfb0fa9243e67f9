"""LoRA adapters on one base model: each token of a packed batch gets what its own sequence's adapter adds.

A layer's output is x W + B(A(x)), the second part for the tokens of those sequences that wear the adapter: so sequences
with different adapters, and with none, share every step. What is cached of a prefix depends on the adapter that it was
computed under, so cached blocks are found again under the same adapter only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from queuechat.errors import Misconfigured
from workers.engines.adapter_files import Adapter, Delta, read_adapter

Worn = list[tuple[str, Tensor | None]]
"""Adapters of a forward pass, each with the places of its tokens [n]; None is all of them."""


class Adapters:
    """What hangs at the layers of a model. Which adapters a forward pass wears is known by thread, since embeddings are
    made beside the batch."""

    def __init__(self, model: Any, adapters: Sequence[Adapter]):
        """Raises Misconfigured for an adapter that was made for another model."""
        self._model = model
        self._salts = {adapter.name: (n + 1) * _vocab_size(model) for n, adapter in enumerate(adapters)}
        self._thread = threading.local()
        for layer in {layer for adapter in adapters for layer in adapter.deltas}:
            deltas = {adapter.name: _fitted(adapter, layer, model) for adapter in adapters if layer in adapter.deltas}
            model.get_submodule(layer).register_forward_hook(partial(self._add, deltas))
        if adapters:
            model.register_forward_hook(self._take_off)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._salts)

    @contextmanager
    def wearing(self, name: str) -> Iterator[None]:
        """All tokens of what this thread computes meanwhile wear an adapter; "" is none."""
        self._thread.worn = [(name, None)] if name else []
        try:
            yield
        finally:
            self._thread.worn = []

    def follow(self, manager: Any) -> None:
        """Has the steps of a continuous batching manager wear what `row.adapter` of their requests says."""
        if not self._salts:
            return
        processor = manager.batch_processor
        ios, cache, scheduler = processor.inputs_and_outputs, processor.cache, processor.scheduler
        prepare, search, mark = ios.prepare_batch_tensors, cache.search_prefix_match, cache.mark_complete_blocks

        def prepare_batch_tensors(requests_in_batch: Sequence[Any], **rest: Any) -> None:
            self._thread.worn = _worn(requests_in_batch, self._model.device)
            prepare(requests_in_batch=requests_in_batch, **rest)

        def search_prefix_match(request_id: str, prompt_ids: list[int]) -> int:
            state = scheduler.waiting_requests.get(request_id) or scheduler.active_requests[request_id]
            return int(search(request_id, self._salted(prompt_ids, _adapter_of(state))))

        def mark_complete_blocks(state: Any, complete_blocks: dict[str, int]) -> None:
            adapter = _adapter_of(state)
            mark(_disguised(state, self._salted(state.initial_tokens, adapter)) if adapter else state, complete_blocks)

        ios.prepare_batch_tensors = prepare_batch_tensors
        cache.search_prefix_match, cache.mark_complete_blocks = search_prefix_match, mark_complete_blocks

    def _salted(self, ids: list[int], adapter: str) -> list[int]:
        """Ids that stand for a prefix under an adapter: neither the vocabulary nor another adapter has the first."""
        return [ids[0] + self._salts[adapter], *ids[1:]] if adapter else ids

    def _add(self, deltas: Mapping[str, Delta], layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """`args[0]` is [..., tokens, in] and `output` [..., tokens, out]."""
        for name, places in getattr(self._thread, "worn", ()):
            if name not in deltas:
                continue
            a, b = (half.to(output.device) for half in deltas[name])
            x = args[0].to(a) if places is None else args[0].index_select(-2, places.to(args[0].device)).to(a)
            added = linear(linear(x, a), b).to(output.dtype)
            output = output + added if places is None else output.index_add(-2, places.to(output.device), added)
        return output

    def _take_off(self, *_: Any) -> None:
        """A step is one forward pass: what the engine's thread computes after it is no part of it."""
        self._thread.worn = []


def adapters_of(model: Any, folders: Mapping[str, str]) -> Adapters:
    """Those of these folders, by name, put on a model.

    Raises:
        Misconfigured: one is not there, is damaged, was made for another model, or asks for what is not supported.
    """
    return Adapters(model, [read_adapter(name, Path(folder)) for name, folder in folders.items()])


def _adapter_of(state: Any) -> str:
    row = state.logit_processor_kwargs.get("row")
    return row.adapter if row is not None else ""


def _worn(requests: Sequence[Any], device: torch.device) -> Worn:
    """The adapters of a step, whose tokens lie sequence after sequence."""
    places: dict[str, list[int]] = {}
    at = 0
    for request in requests:
        if adapter := _adapter_of(request.state):
            places.setdefault(adapter, []).extend(range(at, at + request.query_length))
        at += request.query_length
    return [(name, torch.tensor(taken, device=device)) for name, taken in places.items()]


def _disguised(state: Any, initial_tokens: list[int]) -> Any:
    """What the cache reads of a state, with other ids."""
    return SimpleNamespace(
        request_id=state.request_id,
        status=state.status,
        initial_tokens=initial_tokens,
        generated_tokens=state.generated_tokens,
    )


def _vocab_size(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)


def _fitted(adapter: Adapter, layer: str, model: Any) -> Delta:
    """An adapter's part for a layer, where the model is and in its numbers."""
    try:
        module = model.get_submodule(layer)
    except AttributeError as error:
        raise Misconfigured(f"adapter {adapter.name!r} is for another model: this one has no layer {layer}") from error
    if module is model.get_output_embeddings() or isinstance(module, nn.Embedding):
        raise Misconfigured(f"adapter {adapter.name!r} changes {layer}, an embedding; only other layers are supported")
    a, b = adapter.deltas[layer]
    has, wants = _shape(module), (a.shape[1], b.shape[0])
    if has is None:
        raise Misconfigured(f"adapter {adapter.name!r} changes {layer}; only linear layers are supported")
    if has != wants:
        raise Misconfigured(
            f"adapter {adapter.name!r} is for another model: {layer} goes from {has[0]} to {has[1]} features here, "
            f"from {wants[0]} to {wants[1]} there"
        )
    return a.to(model.device, model.dtype), b.to(model.device, model.dtype)


def _shape(module: Any) -> tuple[int, int] | None:
    """Features that go into a layer and come out of it; None for one that is not linear."""
    if hasattr(module, "in_features"):
        return int(module.in_features), int(module.out_features)
    if hasattr(module, "nx"):  # GPT-2's own kind of layer
        return int(module.nx), int(module.nf)
    return None
