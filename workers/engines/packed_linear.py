"""Linear layers on the CPU whose weights are laid out ahead of time as oneDNN's kernels want them.

torch multiplies float32 by MKL, which packs the weight anew in each call: with the few rows of a decode step that is
much of the work. A single row is another matter: there MKL reads the plain weight fastest, so a small model keeps both.
The operators are those that torch.compile puts in on the CPU.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)

KEPT_BYTES = 1 << 30  # of weights: a larger model has its memory for itself
ROWS = 16  # for which oneDNN chooses the layout; it is used with any number


class PackedLinear(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Computes what `linear` does, [..., in_features] to [..., out_features]. `weight`, if kept, serves single rows."""

    def __init__(self, linear: nn.Linear, *, keep: bool):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.weight = linear.weight if keep else None
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is not None and x.numel() == self.in_features:
            return functional.linear(x, self.weight, self.bias)
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return answer


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
        for name in list(linears):
            linear = linears.pop(name)  # so that what is not kept is freed before the next one is packed
            model.set_submodule(name, PackedLinear(linear, keep=small))
    except (RuntimeError, NotImplementedError) as error:
        log.info("linear layers are left unpacked: %s", error)


def _packable(module: nn.Module) -> TypeGuard[nn.Linear]:
    """What quantisation, an adapter or accelerate has changed is none of ours."""
    if type(module) is not nn.Linear or hasattr(module, "_hf_hook"):
        return False
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    weight = module.weight
    return type(weight.data) is Tensor and weight.dtype == torch.float32 and weight.device.type == "cpu"
