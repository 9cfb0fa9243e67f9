"""From a spec to its engine, and to how its model speaks. Engines are imported only here, when they are asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from queuechat.errors import Misconfigured
from workers.endpoints import endpoint_of
from workers.engines.base import Engine
from workers.models import Spec
from workers.prompting import Speech
from workers.relaying import Relay
from workers.text.abilities import reasoning_of, tool_format_of
from workers.text.named import chat_format


def build(spec: Spec) -> Engine:
    """The engine of a spec, not started.

    Raises:
        Misconfigured: its packages are not installed.
    """
    try:
        return _BUILDERS[spec.engine](spec)
    except ModuleNotFoundError as error:
        if spec.engine == "vllm":
            raise Misconfigured(
                f"engine 'vllm' needs {error.name}, which is not installed: vLLM wants an environment of its own, "
                "see docs/operations.md"
            ) from error
        extra = {"transformers": "worker", "llamacpp": "llamacpp", "remote": "remote"}.get(spec.engine, "all")
        raise Misconfigured(
            f"engine {spec.engine!r} needs {error.name}, which is not installed: pip install 'queuechat[{extra}]'"
        ) from error


def _echo(spec: Spec) -> Engine:
    module = import_module("workers.engines.echo")
    engine: Engine = module.EchoEngine(
        spec.echo_rate, max_running=spec.max_running or 64, context_length=spec.max_context or 8192
    )
    return engine


def _transformers(spec: Spec) -> Engine:
    source = _unpacked(spec)
    kind = _hf_kind(source, spec.revision)
    engine: Engine = kind(
        source,
        device=spec.device,
        dtype=spec.dtype,
        max_running=spec.max_running,
        revision=spec.revision,
        max_context=spec.max_context,
        threads=spec.threads,
        **_beyond_encoders(kind, spec),
    )
    return engine


def _unpacked(spec: Spec) -> str:
    """Folder or Hub id of a model, a GGUF file as what it is converted to."""
    if not spec.source.endswith(".gguf"):
        return spec.source
    folder = Path(spec.cache_dir) / "models"
    return str(import_module("workers.convert").converted(Path(spec.source), cache_dir=folder))


def _beyond_encoders(kind: Any, spec: Spec) -> dict[str, Any]:
    """What not every model of Hugging Face's can be given. Raises Misconfigured for one that cannot."""
    keeping = import_module("workers.engines.weights").Keeping(
        spec.quantize, spec.device_map, spec.max_memory, spec.offload_folder
    )
    if spec.lora and "lora" not in kind.options:
        raise Misconfigured(f"--lora is for models that read and write text alone, and {spec.source} is none")
    if "keeping" not in kind.options:
        if keeping.quantize or keeping.spreads:
            raise Misconfigured(f"{spec.source} has an encoder: it is neither quantised nor spread over devices")
        return {}
    return {"keeping": keeping} | ({"lora": spec.lora} if spec.lora else {})


def _hf_kind(source: str, revision: str | None) -> Any:
    """The class of the engine for a model of Hugging Face's."""
    if import_module("workers.engines.hf_encoder").is_encoder(source, revision):
        return import_module("workers.engines.encoder").EncoderEngine
    if import_module("workers.engines.vision_model").sees(source, revision):
        return import_module("workers.engines.vision").VisionEngine
    if import_module("workers.engines.seq2seq_model").is_seq2seq(source, revision):
        return import_module("workers.engines.seq2seq").Seq2SeqEngine
    return import_module("workers.engines.transformers").TransformersEngine


def _llamacpp(spec: Spec) -> Engine:
    source = spec.source
    if spec.device in ("cuda", "gpu") and import_module("workers.engines.llamacpp_server").device() == "cpu":
        raise Misconfigured(
            f"--device {spec.device}, but llama.cpp sees no GPU: use cpu or auto, or a build of xllamacpp for this GPU"
        )
    if spec.dtype != "auto":
        folder = Path(spec.cache_dir) / "models"
        source = str(import_module("workers.convert").unpacked(Path(source), spec.dtype, cache_dir=folder))
    engine: Engine = import_module("workers.engines.llamacpp").LlamaCppEngine(
        source,
        max_running=spec.max_running,
        max_context=spec.max_context,
        threads=spec.threads,
        gpu_layers=0 if spec.device == "cpu" else None,
    )
    return engine


def _vllm(spec: Spec) -> Engine:
    engine: Engine = import_module("workers.engines.vllm").VllmEngine(
        _unpacked(spec),
        dtype=spec.dtype,
        max_running=spec.max_running,
        max_context=spec.max_context,
        revision=spec.revision,
        tensor_parallel=spec.tensor_parallel,
    )
    return engine


def _remote(spec: Spec) -> Engine:
    endpoint = endpoint_of(spec.endpoint, spec.model)
    engine: Engine = import_module("workers.engines.remote").RemoteEngine(endpoint, max_running=spec.max_running)
    return engine


_BUILDERS = {
    "echo": _echo,
    "transformers": _transformers,
    "llamacpp": _llamacpp,
    "vllm": _vllm,
    "remote": _remote,
}


def speech_of(engine: Engine, spec: Spec) -> Speech:
    """How its model speaks: as the spec says, else as the chat template tells.

    Raises:
        Misconfigured: the template is not valid Jinja, or has no place for tools that it should render.
    """
    if spec.engine == "remote":
        return Relay(engine.vocabulary, thinks=bool(spec.endpoint.get("reasoning")))
    form = chat_format(spec.chat_template, engine.vocabulary.chat_template, spec.source)
    tool_format = tool_format_of(form.template, spec.tool_format)
    thoughts = reasoning_of(form.template, spec.reasoning)
    return Speech(engine.vocabulary, form.template, tool_format, thoughts, form.stop)
