"""Linear layers on the CPU whose weights are laid out ahead of time as oneDNN's kernels want them.

torch multiplies float32 by MKL, which packs the weight anew in each call: with the few rows of a decode step that is
much of the work. A single row is another matter: there MKL reads a plain weight of the usual size as fast in one thread
as others do in two that wait for each other, so a small model keeps both. The operators are those that torch.compile
puts in on the CPU.

Layers that are applied to one input (queries, keys and values; gate and up) are computed as one: each call costs the
meeting of all threads, which at few rows is as long as the work.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)

KEPT_BYTES = 1 << 30  # of weights: a larger model has its memory for itself
SINGLE_BYTES = 1 << 24  # of one weight: a larger one is read by all threads, whatever the rows
ROWS = 16  # for which oneDNN chooses the layout; it is used with any number
#: What layers that read the same input are called, in the models of transformers.
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class PackedLinear(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Computes what `linear` does, [..., in_features] to [..., out_features]. `weight`, if kept, serves single rows."""

    def __init__(self, linear: nn.Linear, *, keep: bool):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.weight = linear.weight if keep and linear.weight.nbytes <= SINGLE_BYTES else None
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is not None and x.numel() == self.in_features:
            return functional.linear(x, self.weight, self.bias)
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return answer

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """What the layer makes of `x`, and `other` [..., out_features] added as it is written."""
        if self.weight is not None and x.numel() == self.in_features:
            return functional.linear(x, self.weight, self.bias).add_(other)
        answer: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self._packed, self.bias, "add")
        return answer


class Together(nn.Module):  # type: ignore[misc]
    """Linear layers as one. It remembers what it last computed until all of them have asked for it: once for each
    thread, since embeddings are made beside the steps of an engine."""

    def __init__(self, linears: Sequence[nn.Linear], *, keep: bool):
        super().__init__()
        self._widths = [linear.out_features for linear in linears]
        self._linear = PackedLinear(_joined(linears), keep=keep)
        self._last = threading.local()

    def forward(self, x: Tensor) -> Tensor:
        """What all of them make of `x`, side by side in the last dimension."""
        answer: Tensor = self._linear(x)
        return answer

    def part(self, index: int, x: Tensor) -> Tensor:
        """What layer `index` makes of `x`."""
        last = self._last
        if getattr(last, "input", None) is not x:
            last.input, last.parts = x, dict(enumerate(self._linear(x).split(self._widths, dim=-1)))
        part: Tensor = last.parts.pop(index, None)
        if part is None:  # a layer that is applied twice to the same
            part = self._linear(x).split(self._widths, dim=-1)[index]
        if not last.parts:
            last.input = None
        return part


class Part(nn.Module):  # type: ignore[misc]
    """One of several layers that are computed together; the first of them holds the whole."""

    def __init__(self, whole: Together, index: int, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = None, linear.bias
        self._index = index
        self._whole = [whole]  # in a list, so that it is not registered as a module of each part

    @property
    def whole(self) -> Together:
        return self._whole[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.whole.part(self._index, x)


def _joined(linears: Sequence[nn.Linear]) -> nn.Linear:
    width = sum(linear.out_features for linear in linears)
    with torch.device("meta"):
        joined = nn.Linear(linears[0].in_features, width, bias=linears[0].bias is not None)
    joined.weight = nn.Parameter(torch.cat([linear.weight.detach() for linear in linears]), requires_grad=False)
    if linears[0].bias is not None:
        joined.bias = nn.Parameter(torch.cat([linear.bias.detach() for linear in linears]), requires_grad=False)
    return joined


def pack_linears(model: nn.Module) -> None:
    """Replaces the float32 linear layers of a model; leaves it as it is where this torch cannot."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return
    linears = {name: module for name, module in model.named_modules() if _packable(module)}
    small = sum(linear.weight.nbytes for linear in linears.values()) <= KEPT_BYTES
    uses = Counter(id(own) for module in model.modules() for own in module.parameters(recurse=False))
    if not small:  # a weight that something else uses would be there twice
        linears = {name: linear for name, linear in linears.items() if uses[id(linear.weight)] == 1}
    try:
        for names in list(_groups(linears)):
            group = [linears.pop(name) for name in names]  # so that what is not kept is freed before the next is packed
            whole = Together(group, keep=small)
            for index, (name, linear) in enumerate(zip(names, group, strict=True)):
                model.set_submodule(name, Part(whole, index, linear))
        for name in list(linears):
            linear = linears.pop(name)
            model.set_submodule(name, PackedLinear(linear, keep=small))
    except (RuntimeError, NotImplementedError) as error:
        log.info("linear layers are left unpacked: %s", error)


def _groups(linears: Mapping[str, nn.Linear]) -> Iterator[list[str]]:
    """Names of those that read the same input."""
    for name in linears:
        parent, _, last = name.rpartition(".")
        for names in TOGETHER:
            group = [f"{parent}.{one}" for one in names]
            if last == names[0] and all(one in linears for one in group) and _alike([linears[one] for one in group]):
                yield group


def _alike(group: Sequence[nn.Linear]) -> bool:
    return len({(linear.in_features, linear.bias is None) for linear in group}) == 1


def _packable(module: nn.Module) -> TypeGuard[nn.Linear]:
    """What quantisation, an adapter or accelerate has changed is none of ours."""
    if type(module) is not nn.Linear or hasattr(module, "_hf_hook"):
        return False
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    weight = module.weight
    return type(weight.data) is Tensor and weight.dtype == torch.float32 and weight.device.type == "cpu"
