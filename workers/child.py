"""The engine child: one engine, one consumer. Started by the supervisor, which alone speaks to the outside.

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
from queuechat.dialects.order import BYTES
from queuechat.errors import EngineDied, Misconfigured, QueuechatError
from queuechat.protocol import Reason
from workers.consumer import Consumer
from workers.endpoints import endpoint_of
from workers.engines.base import Caps, Engine
from workers.models import Spec
from workers.process import EX_CONFIG, EX_ENGINE
from workers.prompting import Speech
from workers.relaying import Relay
from workers.text.abilities import reasoning_of, tool_format_of
from workers.text.named import chat_format

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
    source = spec.source
    if source.endswith(".gguf"):
        source = str(
            import_module("workers.convert").converted(Path(source), cache_dir=Path(spec.cache_dir) / "models")
        )
    engine: Engine = _hf_kind(source, spec.revision)(
        source,
        device=spec.device,
        dtype=spec.dtype,
        max_running=spec.max_running,
        revision=spec.revision,
        max_context=spec.max_context,
        threads=spec.threads,
    )
    return engine


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


def _remote(spec: Spec) -> Engine:
    endpoint = endpoint_of(spec.endpoint, spec.model)
    engine: Engine = import_module("workers.engines.remote").RemoteEngine(endpoint, max_running=spec.max_running)
    return engine


_BUILDERS = {"echo": _echo, "transformers": _transformers, "llamacpp": _llamacpp, "remote": _remote}


def _told(caps: Caps, speech: Speech) -> dict[str, Any]:
    abilities = {"generates": caps.generates, "chats": caps.generates and speech.chats}
    abilities |= {"scores": caps.scores, "fim": speech.fim is not None, "vision": caps.vision}
    return {"tool_format": speech.tool_format, "reasoning": speech.reasoning, "abilities": abilities}


class Child:
    """Wires engine and consumer, and speaks with the supervisor."""

    def __init__(self, spec: Spec, status_fd: int):
        self._spec = spec
        self._status_fd = status_fd
        self._consumer: Consumer | None = None

    async def run(self, commands: asyncio.StreamReader) -> None:
        spec = self._spec
        listening = asyncio.create_task(self._listen(commands), name="commands")
        chat_format(spec.chat_template, "", "")  # what is wrong with it is told before a model is loaded for minutes
        engine = await asyncio.to_thread(build, spec)
        try:
            bus = await Bus(spec.redis_url, patience_s=math.inf).open()
            await asyncio.to_thread(engine.start)
            speech = speech_of(engine, spec)
            self._consumer = Consumer(bus, engine, speech, model=spec.model, worker=spec.worker, life=spec.life)
            self._tell(self._ready(engine) | _told(engine.caps, speech))
            reporting = asyncio.create_task(self._report(self._consumer), name="status")
            await self._consumer.run()
            reporting.cancel()
            await bus.close()
        finally:
            listening.cancel()
            engine.close()

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

    async def _report(self, consumer: Consumer) -> None:
        unit = BYTES if consumer.engine.caps.units == "bytes" else 1
        while True:
            self._tell(
                {
                    "steps": consumer.steps,
                    "tokens": consumer.tokens // unit,
                    "running": len(consumer.held),
                    "working": consumer.working,
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
        os._exit(EX_ENGINE)  # without a supervisor nobody renews our leases: others must take over

    def _obey(self, command: str) -> None:
        word, _, rest = command.partition(" ")
        if self._consumer is None:
            return
        if word == "drain":
            self._consumer.drain()
        elif word in ("CANCEL", "DEADLINE"):
            self._consumer.cancel(rest, Reason.DEADLINE if word == "DEADLINE" else Reason.CANCELLED)


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
