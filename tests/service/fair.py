"""Two keys on one busy model: one sends fifty times as much as the other, and far more than can be answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from queuechat import keys
from queuechat.credentials import static_id
from tests.service.caller import Call, call
from tests.service.site import MODEL, Site, quantile, site

RATE, TOKENS, RUNNING, ROOM = 50, 25, 8, 64  # half a second each: 16 a second can be answered
QUIET_S, TIMES = 1.5, 50  # requests a second of the quiet key, and of the other by how many times
AHEAD = 4  # jobs of the other key that may be taken while a job of the quiet one waits


@dataclass(frozen=True)
class _Job:
    """As its usage entry tells, in ms."""

    queued: int
    started: int
    ended: int

    @property
    def waited(self) -> int:
        return self.started - self.queued


async def fair(folder: Path, seed: int, seconds: int) -> tuple[dict[str, Any], list[str]]:
    """A quiet key alone, then beside one that sends 50 times as much at random (Poisson) for so many seconds: how long
    its jobs wait, and how many of the other's are taken meanwhile."""
    async with site(folder) as here:
        await here.worker(RATE, RUNNING)
        port = await here.api(QUEUECHAT_API_KEYS="quiet,noisy", QUEUECHAT_QUEUE_LIMIT=str(ROOM))
        crowd = _Crowd(port, random.Random(seed))
        await crowd.send({"quiet": QUIET_S}, seconds)
        alone = (await _ended(here))["quiet"]
        await here.bus.connection.command("DEL", keys.usage(MODEL))
        await crowd.send({"quiet": QUIET_S, "noisy": TIMES * QUIET_S}, seconds)
        ended = await _ended(here)
    quiet, noisy = ended["quiet"], ended["noisy"]
    service_ms = quantile([job.ended - job.started for job in quiet], 0.5)
    ahead = [sum(job.queued <= other.started < job.started for other in noisy) for job in quiet]
    waits = {
        name: [job.waited for job in jobs] for name, jobs in (("alone", alone), ("quiet", quiet), ("noisy", noisy))
    }
    p95 = {name: quantile(values, 0.95) for name, values in waits.items()}
    figures = {
        "outcomes": {f"{key} {outcome}": count for (key, outcome), count in sorted(crowd.outcomes.items())},
        "service_ms": service_ms,
        "wait_p50_ms": {name: quantile(values, 0.5) for name, values in waits.items()},
        "wait_p95_ms": p95,
        "taken_before_p95": quantile(ahead, 0.95),
    }
    faults = list(crowd.faults)
    if quantile(ahead, 0.95) > AHEAD:
        faults.append(f"{quantile(ahead, 0.95)} jobs of the other were taken while one of the quiet key waited")
    if p95["quiet"] > 2 * p95["alone"] + service_ms:
        faults.append(f"the quiet key waited {p95['quiet']} ms, alone {p95['alone']} ms, a job takes {service_ms} ms")
    return figures, faults


async def _ended(here: Site) -> dict[str, list[_Job]]:
    """The jobs of each key, when all have ended."""
    while (depth := await here.bus.depth(MODEL)).waiting or depth.running:
        await asyncio.sleep(0.05)
    names = {static_id(key): key for key in ("quiet", "noisy")}
    found: defaultdict[str, list[_Job]] = defaultdict(list)
    for _, row in await here.bus.connection.command("XRANGE", keys.usage(MODEL), "-", "+"):
        queued, started, ended = (int(row[name]) for name in (b"queued", b"started", b"ended"))
        found[names[row[b"tenant"].decode()]].append(_Job(queued, started, ended))
    return found


class _Crowd:
    def __init__(self, port: int, rng: random.Random):
        self._port, self._rng = port, rng
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.faults: list[str] = []

    async def send(self, rates: dict[str, float], seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            for key, per_s in rates.items():
                group.create_task(self._pour(key, per_s, seconds, group))

    async def _pour(self, key: str, per_s: float, seconds: float, group: asyncio.TaskGroup) -> None:
        began = due = time.monotonic()
        while due < began + seconds:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            group.create_task(self._one(key))
            due += self._rng.expovariate(per_s)

    async def _one(self, key: str) -> None:
        body: dict[str, object] = {"model": MODEL, "prompt": "x", "max_tokens": TOKENS, "stream": True}
        got = Call()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            got = await call(self._port, body, key=key)
        refused = got.status == 429 and key == "noisy"
        self.outcomes[key, "answered" if got.whole else f"refused with {got.status}"] += 1
        if not got.whole and not refused:
            self.faults.append(f"{key}: {got.status} {bytes(got.body[-200:])!r}")
