"""Signs of life from within a forward pass: a long prompt on a slow machine is no model that hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import nn

EVERY_S = 1.0


def feel(model: Any, tell: Callable[[], None]) -> None:
    """Has `tell` called as the model goes from layer to layer, in its thread, at most once in `EVERY_S`."""
    told_at = 0.0

    def beat(*_: Any) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= EVERY_S:
            told_at = now
            tell()

    for stack in model.modules():
        if isinstance(stack, nn.ModuleList):
            for layer in stack:
                layer.register_forward_pre_hook(beat)
