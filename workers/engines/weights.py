"""How the weights of a model are kept: quantised as they are loaded, spread over devices, offloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from queuechat.errors import Misconfigured

QUANTIZED_EXACTLY = ("", "int8")  # their products are those of float32, whatever shares the batch


@dataclass(frozen=True, slots=True)
class Keeping:
    """`quantize` is int8 or int4. `device_map` is one of accelerate's, `max_memory` by device, as it writes sizes."""

    quantize: str | None = None
    device_map: str | None = None
    max_memory: Mapping[str, str] | None = None
    offload_folder: str | None = None

    @property
    def spreads(self) -> bool:
        return bool(self.device_map or self.max_memory or self.offload_folder)

    def options(self, config: Any, device: str, dtype: torch.dtype) -> dict[str, Any]:
        """What `from_pretrained` is told of all this.

        Raises:
            Misconfigured: this device, or this model, cannot be quantised so, or a package for it is missing.
        """
        options: dict[str, Any] = {"dtype": dtype, "device_map": None if device == "cpu" else device}
        if self.spreads:
            options |= {"device_map": self.device_map or "auto", "offload_folder": self.offload_folder}
        if self.max_memory:
            options["max_memory"] = {int(at) if at.isdigit() else at: size for at, size in self.max_memory.items()}
        if self.quantize:
            _refuse_quantized(config, self.quantize)
            options["quantization_config"] = _quantization(self.quantize, device.partition(":")[0], dtype)
        return options


def kept_as(model: Any, keeping: Keeping) -> str:
    """How a model is quantised, in a word or two; "" when it is not."""
    if keeping.quantize:
        return keeping.quantize
    told = _of_checkpoint(model.config)
    bits = told.get("bits") or told.get("w_bit")
    return " ".join(str(part) for part in (told.get("quant_method", ""), bits and f"{bits}-bit") if part)


def computing_on(model: Any, device: str) -> str:
    """The device that a model computes on; what is offloaded comes there when it is needed.

    Raises:
        Misconfigured: it computes on several, and the cache of a batch lies on one.
    """
    placed = {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()}
    computing = sorted(placed - {"cpu", "disk"})
    if len(computing) > 1:
        raise Misconfigured(
            f"the device map spreads the model over the devices {', '.join(computing)}, and the batch's cache lies on "
            "one: let one do (CUDA_VISIBLE_DEVICES, --max-memory 0=…,cpu=…), or use --engine vllm --tensor-parallel"
        )
    if not placed:
        return device
    return _named(computing[0]) if computing else "cpu"


def _named(place: str) -> str:
    """accelerate calls the devices of the accelerator that there is by number."""
    accelerator = torch.accelerator.current_accelerator() if place.isdigit() else None
    return f"{accelerator.type}:{place}" if accelerator is not None else place


def _of_checkpoint(config: Any) -> dict[str, Any]:
    told = getattr(config, "quantization_config", None) or {}
    return told if isinstance(told, dict) else dict(told.to_dict())


def _refuse_quantized(config: Any, quantize: str) -> None:
    if method := _of_checkpoint(config).get("quant_method"):
        raise Misconfigured(f"--quantize {quantize}, but the weights are quantised already ({method}): leave it out")


def _quantization(quantize: str, kind: str, dtype: torch.dtype) -> Any:
    if kind == "cuda":
        return _bitsandbytes(quantize, dtype)
    if quantize == "int4":
        raise Misconfigured(
            f"--quantize int4 needs CUDA, and this worker computes on {kind}: use int8, or a GGUF file with "
            "--engine llamacpp, whose 4 bits are made for the CPU"
        )
    _require("torchao", quantize)
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _bitsandbytes(quantize: str, dtype: torch.dtype) -> Any:
    _require("bitsandbytes", quantize)
    if dtype == torch.float32:
        raise Misconfigured(f"--quantize {quantize} on CUDA computes in bfloat16 or float16: leave --dtype float32 out")
    from transformers import BitsAndBytesConfig

    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )


def _require(package: str, quantize: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise Misconfigured(
            f"--quantize {quantize} needs {package} here, which is not installed: pip install {package} "
            "(or 'queuechat[quantize]')"
        )
