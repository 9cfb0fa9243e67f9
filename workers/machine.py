"""What this machine can do: bytes a second of its memory, operations a second of its matrix units. Measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from workers.engines.hf_model import device_of, dtype_of

_REPEATS = 5
_COPY_SHARE = 8  # of what memory is free
_COPY_BYTES = {"cpu": 1 << 28, "other": 4 << 30}  # far more than any cache holds
_GEMM = {"cpu": 2048, "other": 8192}


@dataclass(frozen=True, slots=True)
class Machine:
    """`bytes_per_s` counts what a copy reads and what it writes; `flops` of the dtype, two for each multiply-add."""

    device: str
    name: str
    dtype: str
    bytes_per_s: float
    flops: float


def measure(device: str = "auto", dtype: str = "auto", threads: int | None = None) -> Machine:
    """The best of several copies and of several products of square matrices.

    Raises:
        Misconfigured: torch finds no such device, or does not know the dtype.
    """
    device, numbers = device_of(device), dtype_of(dtype, device_of(device))
    if threads is not None:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        return Machine(
            device, _name(device), str(numbers).removeprefix("torch."), _copy(device), _gemm(device, numbers)
        )


def _name(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"{torch.get_num_threads()} threads" if device == "cpu" else device


def _copy(device: str) -> float:
    size = _COPY_BYTES["cpu" if device == "cpu" else "other"]
    if device.startswith("cuda"):
        size = min(size, torch.cuda.mem_get_info(device)[0] // _COPY_SHARE)
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2.0 * int(source.nbytes) / _best(lambda: target.copy_(source), device)


def _gemm(device: str, dtype: torch.dtype) -> float:
    width = _GEMM["cpu" if device == "cpu" else "other"]
    left, right = (
        torch.randn(width, width, device=device).to(dtype) for _ in range(2)
    )  # zeros and ones cost less power
    out = torch.empty_like(left)
    return 2.0 * width**3 / _best(lambda: torch.mm(left, right, out=out), device)


def _best(act: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of several, after two that warm up."""
    times = []
    for _ in range(_REPEATS + 2):
        _settle(device)
        start = time.perf_counter()
        act()
        _settle(device)
        times.append(time.perf_counter() - start)
    return min(times[2:])


def _settle(device: str) -> None:
    kind = device.partition(":")[0]
    if kind != "cpu":
        getattr(torch, kind).synchronize()
