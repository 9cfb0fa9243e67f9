"""The engine child: one engine, one consumer for each name that it serves. Started by the supervisor, which alone
speaks to the outside.

Standard input brings the spec as the first line, then `drain` and `cancel <id>`; its end means that the supervisor is
gone. The pipe named by the first argument takes status lines, JSON: `ready` once, then load four times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import uvloop

from queuechat import logs
from queuechat.bus import Bus
from queuechat.errors import EngineDied, Misconfigured, QueuechatError
from queuechat.protocol import Reason
from workers.consumer import Consumer
from workers.engines.base import Caps, Engine
from workers.models import Spec
from workers.places import Places
from workers.process import EX_CONFIG, EX_ENGINE
from workers.prompting import Speech
from workers.sharing import Share, deal
from workers.text.abilities import reasoning_of, tool_format_of
from workers.text.template import load_template

log = logging.getLogger(__name__)

STATUS_S = 0.25


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
        extra = {"transformers": "worker", "llamacpp": "llamacpp"}.get(spec.engine, "all")
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
    if spec.lora and kind.__name__ != "TransformersEngine":
        raise Misconfigured(f"--lora is for models that read and write text alone, and {spec.source} is none")
    if kind.__name__ == "EncoderEngine":
        if keeping.quantize or keeping.spreads:
            raise Misconfigured(f"{spec.source} only makes embeddings: it is neither quantised nor spread over devices")
        return {}
    return {"keeping": keeping} | ({"lora": spec.lora} if spec.lora else {})


def _hf_kind(source: str, revision: str | None) -> Any:
    """The class of the engine for a model of Hugging Face's."""
    if import_module("workers.engines.hf_encoder").is_encoder(source, revision):
        return import_module("workers.engines.encoder").EncoderEngine
    if import_module("workers.engines.vision_model").sees(source, revision):
        return import_module("workers.engines.vision").VisionEngine
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


def speech_of(engine: Engine, template: str, spec: Spec) -> Speech:
    """How its model speaks: as the spec says, else as the chat template tells.

    Raises:
        Misconfigured: the template is not valid Jinja, or has no place for tools that it should render.
    """
    tool_format = tool_format_of(template, spec.tool_format)
    return Speech(engine.vocabulary, template, tool_format, reasoning_of(template, spec.reasoning))


_BUILDERS = {"echo": _echo, "transformers": _transformers, "llamacpp": _llamacpp, "vllm": _vllm}


def _told(caps: Caps, speech: Speech) -> dict[str, Any]:
    abilities: dict[str, Any] = {"generates": caps.generates, "chats": caps.generates and bool(speech.template)}
    abilities |= {"scores": caps.scores, "fim": speech.fim is not None, "vision": caps.vision}
    abilities |= {"quantization": caps.quantization}
    return {"tool_format": speech.tool_format, "reasoning": speech.reasoning, "abilities": abilities}


class Child:
    """Wires engine and consumer, and speaks with the supervisor."""

    def __init__(self, spec: Spec, status_fd: int):
        self._spec = spec
        self._status_fd = status_fd
        self._consumers: list[Consumer] = []

    async def run(self, commands: asyncio.StreamReader) -> None:
        spec = self._spec
        listening = asyncio.create_task(self._listen(commands), name="commands")
        engine = await asyncio.to_thread(build, spec)
        try:
            bus = await Bus(spec.redis_url, patience_s=math.inf).open()
            await asyncio.to_thread(engine.start)
            template = load_template(spec.chat_template) if spec.chat_template else engine.vocabulary.chat_template
            speech = speech_of(engine, template or "", spec)
            self._consumers = self._consumers_of(bus, engine, speech)
            self._tell(self._ready(engine) | _told(engine.caps, speech))
            reporting = asyncio.create_task(self._report(), name="status")
            await asyncio.gather(*(consumer.run() for consumer in self._consumers))
            reporting.cancel()
            await bus.close()
        finally:
            listening.cancel()
            engine.close()

    def _consumers_of(self, bus: Bus, engine: Engine, speech: Speech) -> list[Consumer]:
        """One for each name; only an engine with adapters has more than one, and is shared."""
        spec, places = self._spec, Places(engine.caps.max_running)
        engines: dict[str, Engine] = {spec.model: engine}
        if spec.lora:
            shares = {name: Share(engine, name if name in spec.lora else "") for name in spec.names}
            self._dealing = asyncio.create_task(deal(engine, list(shares.values())), name="deal")
            engines = {**shares}
        return [
            Consumer(bus, part, speech, model=name, worker=spec.worker, life=spec.life, places=places)
            for name, part in engines.items()
        ]

    def _ready(self, engine: Engine) -> dict[str, Any]:
        caps = engine.caps
        return {
            "ready": True,
            "context_length": caps.context_length,
            "capacity": caps.max_running,
            "resume": caps.resume,
            "embeds": caps.embeds,
            "device": caps.device,
            "grammars": sorted(caps.grammars),
            "logprobs": caps.logprobs,
        }

    async def _report(self) -> None:
        consumers = self._consumers
        while True:
            self._tell(
                {
                    "steps": sum(consumer.steps for consumer in consumers),
                    "tokens": sum(consumer.tokens for consumer in consumers),
                    "running": sum(len(consumer.held) for consumer in consumers),
                    "working": sum(consumer.working for consumer in consumers),
                }
            )
            await asyncio.sleep(STATUS_S)

    def _tell(self, status: dict[str, Any]) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._status_fd, orjson.dumps(status) + b"\n")

    async def _listen(self, commands: asyncio.StreamReader) -> None:
        try:
            while line := await commands.readline():
                self._obey(line.decode().strip())
        except Exception:
            log.exception("engine child ends, since it cannot obey any more")
            os._exit(EX_ENGINE)
        # Without a supervisor nobody renews our leases: others must take over. What an engine has started goes as well.
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(EX_ENGINE)

    def _obey(self, command: str) -> None:
        word, _, rest = command.partition(" ")
        for consumer in self._consumers:
            if word == "drain":
                consumer.drain()
            elif word in ("CANCEL", "DEADLINE"):
                consumer.cancel(rest, Reason.DEADLINE if word == "DEADLINE" else Reason.CANCELLED)


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _main(status_fd: int) -> int:
    commands = await _standard_input()
    spec = Spec.decode(await commands.readline())
    logs.setup(spec.log_level, as_json=spec.log_json)
    os.set_blocking(status_fd, False)
    try:
        await Child(spec, status_fd).run(commands)
    except Misconfigured as error:
        log.error("%s", error)
        return EX_CONFIG
    except (EngineDied, QueuechatError) as error:
        log.error("engine child ends: %s", error)
        return EX_ENGINE
    except Exception:
        log.exception("engine child ends")
        return EX_ENGINE
    return 0


def main() -> None:
    """Entry of `python -m workers.child STATUS_FD`."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the terminal sends them to us too; the supervisor decides
        signal.signal(ignored, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_main(int(sys.argv[1])))
    sys.stderr.flush()
    os._exit(code)  # engines own threads that a normal exit would wait for


if __name__ == "__main__":
    main()
