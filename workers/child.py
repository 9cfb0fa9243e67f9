"""The engine child: one engine, one consumer for each name that it serves. Started by the supervisor, which alone
speaks to the outside.

Standard input brings the spec as the first line, then `drain`, and with each renewal of leases `renewed <JSON>`: a
model and the verdicts on all jobs of it that are owned here. Its end means that the supervisor is gone. The pipe named
by the first argument takes status lines, JSON: `ready` once, then load four times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import sys
from typing import Any

import orjson
import uvloop

from queuechat import logs
from queuechat.bus import Bus, Verdict
from queuechat.dialects.order import BYTES
from queuechat.errors import EngineDied, Misconfigured, QueuechatError
from workers.building import build, speech_of
from workers.consumer import Consumer
from workers.engines.base import Caps, Engine
from workers.models import Spec
from workers.passing import in_passing
from workers.places import Places
from workers.process import EX_CONFIG, EX_ENGINE
from workers.prompting import Speech
from workers.sharing import Share, deal
from workers.text.named import chat_format

log = logging.getLogger(__name__)

STATUS_S = 0.25
_LINE = 1 << 24  # bytes: a renewal names all that is owned


def _told(caps: Caps, speech: Speech) -> dict[str, Any]:
    abilities: dict[str, Any] = {"generates": caps.generates, "chats": caps.generates and speech.chats}
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
        chat_format(spec.chat_template, "", "")  # what is wrong with it is told before a model is loaded for minutes
        engine = await in_passing(build, spec)
        try:
            bus = await Bus(spec.redis_url, patience_s=math.inf).open()
            await in_passing(engine.start)
            speech = speech_of(engine, spec)
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
        unit = BYTES if consumers[0].engine.caps.units == "bytes" else 1
        while True:
            self._tell(
                {
                    "steps": sum(consumer.steps for consumer in consumers),
                    "tokens": sum(consumer.tokens for consumer in consumers) // unit,
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
        if word == "renewed":
            self._renewed(*orjson.loads(rest))
        elif word == "drain":
            for consumer in self._consumers:
                consumer.drain()

    def _renewed(self, model: str, owned: dict[str, str]) -> None:
        for consumer in self._consumers:
            if consumer.model == model:
                consumer.renewed({id: Verdict(verdict) for id, verdict in owned.items()})


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(_LINE)
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
