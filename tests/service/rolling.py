"""Every worker is restarted in turn, then every API server, while people are being answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tests.service.caller import Call, call
from tests.service.site import MODEL, Site, site

RATE, RUNNING, LOAD = 20, 16, 0.7


async def rolling(folder: Path, seed: int, rounds: int, workers: int = 4) -> tuple[dict[str, Any], list[str]]:
    """SIGTERM to each worker, then to each API server; a request counts as failed when its one try brought no whole,
    right answer. Servers are asked through the way of a load balancer: the one that is ready."""
    rng = random.Random(seed)
    async with site(folder) as here:
        commands = [await here.worker(RATE, RUNNING, QUEUECHAT_DRAIN_S="1") for _ in range(workers)]
        ports = [await here.api() for _ in range(2)]
        people = _People(here, rng, ports)
        asking = [asyncio.create_task(people.ask()) for _ in range(int(LOAD * RUNNING * workers))]
        restarted = Counter[str]()
        for _ in range(rounds):
            for at, command in enumerate(commands):
                await command.stop()
                commands[at] = await here.worker(RATE, RUNNING, QUEUECHAT_DRAIN_S="1")
                restarted["workers"] += 1
            for port in ports:
                people.ready.remove(port)
                await people.next_answers()
                here.apis[port].send(signal.SIGTERM)
                await here.apis[port].process.wait()
                await here.api(port)
                people.ready.append(port)
                restarted["API servers"] += 1
        people.over = True
        await asyncio.gather(*asking)
    figures = {"restarted": dict(restarted), "answered": people.answered, "failed": len(people.faults)}
    return figures, people.faults


class _People:
    def __init__(self, here: Site, rng: random.Random, ports: list[int]):
        self._here, self._rng = here, rng
        self.ready = list(ports)
        self.answered = 0
        self.over = False
        self.faults: list[str] = []
        self._texts: dict[tuple[int, int], str] = {}

    async def next_answers(self) -> None:
        """Wait until somebody was answered."""
        before = self.answered
        while self.answered < before + 10:
            await asyncio.sleep(0.01)

    async def ask(self) -> None:
        while not self.over:
            topic, tokens = self._rng.randrange(20), self._rng.choice((20, 60, 120))
            body = {"model": MODEL, "prompt": f"topic {topic}", "seed": 1, "max_tokens": tokens, "stream": True}
            got = Call()
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                got = await call(self._rng.choice(self.ready), body)
            known = self._texts.setdefault((topic, tokens), got.text) if got.whole else None
            if known is None or known != got.text:
                self.faults.append(f"topic {topic}, {tokens} tokens: {got.status} {bytes(got.body[-200:])!r}")
            self.answered += 1
