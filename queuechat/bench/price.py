"""What the queue costs on a real engine: tokens a second through it, by those of the engine alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import orjson

from queuechat.bench.stack import this_code
from queuechat.bench.workload import Ask
from queuechat.errors import Misconfigured
from workers.models import Spec
from workers.waiting import waiting

_LINE = 1 << 24  # bytes of a round at most


@dataclass(frozen=True, slots=True)
class Price:
    """Output tokens a second of each round: of the engine driven in its own process, and through the queue."""

    bare: Sequence[float]
    queued: Sequence[float]

    @property
    def ratio(self) -> float:
        """Through the queue by bare, the median of the rounds: 1 is a queue that costs nothing. What slows a machine
        for a while slows both runs of a round."""
        return median(queued / bare for bare, queued in zip(self.bare, self.queued, strict=True))

    @property
    def rounds(self) -> dict[str, Sequence[float]]:
        return {"bare": self.bare, "queued": self.queued}

    @property
    def medians(self) -> dict[str, float]:
        return {name: median(row) for name, row in self.rounds.items()}

    def document(self) -> dict[str, Any]:
        return {"output_throughput": self.medians, "ratio": self.ratio, "rounds": self.rounds}


class Bare:
    """An engine in a process of its own, with nothing before it."""

    def __init__(self, process: asyncio.subprocess.Process):
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, spec: Spec) -> AsyncIterator[Bare]:
        """Raises Misconfigured when the engine does not start; its own lines say why."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.bare"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**waiting(os.environ, spec.engine), **this_code()},
            limit=_LINE,
            start_new_session=True,
        )
        bare = cls(process)
        try:
            await bare._ask(spec.encode())
            yield bare
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()

    async def run(self, asks: Sequence[Ask], concurrency: int, temperature: float) -> float:
        """Answer all of them: output tokens a second.

        Raises:
            Misconfigured: the engine has died, or failed at one.
        """
        asked = {
            "conversations": [_conversation(ask) for ask in asks],
            "output_lens": [ask.output_len for ask in asks],
            "concurrency": concurrency,
            "temperature": temperature,
        }
        outcome = await self._ask(orjson.dumps(asked))
        if outcome["failure"]:
            raise Misconfigured(f"the bare engine failed at a request: {outcome['failure']}")
        return float(outcome["tokens"] / outcome["seconds"])

    async def _ask(self, line: bytes) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(line + b"\n")
            await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        if not answer:
            raise Misconfigured("the bare engine has ended; its lines above say why")
        found: dict[str, Any] = orjson.loads(answer)
        return found


def _conversation(ask: Ask) -> list[Any]:
    return [{"role": "user", "content": ask.prompt}] if isinstance(ask.prompt, str) else list(ask.prompt)
