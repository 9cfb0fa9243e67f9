"""Ten times as much is asked as can be answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.service.caller import Call, call
from tests.service.site import MODEL, Site, quantile, site

RATE, TOKENS, RUNNING = 50, 50, 16


async def overload(folder: Path, seed: int, seconds: int) -> tuple[dict[str, Any], list[str]]:
    """First the peak, in a closed loop; then ten times of it arrive at random (Poisson) for so many seconds."""
    async with site(folder) as here:
        await here.worker(RATE, RUNNING)
        port = await here.api(QUEUECHAT_QUEUE_LIMIT="64")
        peak = await _peak(port, max(seconds / 4, 3))
        flood = _Flood(here, port, random.Random(seed))
        before = await _memory(here, port)
        await flood.pour(10 * peak, seconds)
        after = await _memory(here, port)
    goodput = flood.kinds["answered"] / seconds
    figures = {
        "peak_req_s": round(peak, 2),
        "offered_req_s": round(flood.offered / seconds, 1),
        "goodput_req_s": round(goodput, 2),
        "goodput_of_peak": round(goodput / peak, 3),
        "outcomes": dict(flood.kinds),
        "answered_e2e_p99_s": round(quantile(flood.took, 0.99), 2),
        "retry_after_s": [min(flood.retry_after, default=0), max(flood.retry_after, default=0)],
        "memory_mb_before_after": {name: [before[name], after[name]] for name in before},
        "memory_mb_in_between": flood.memory,
    }
    return figures, flood.faults


async def _peak(port: int, seconds: float) -> float:
    """Answers per second with always enough to do."""
    done, until = 0, time.monotonic() + seconds

    async def ask() -> None:
        nonlocal done
        while time.monotonic() < until:
            whole = (await call(port, _body(0))).whole
            done += whole and time.monotonic() < until

    began = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(2 * RUNNING)))
    return done / (min(time.monotonic(), until) - began)


def _body(number: int) -> dict[str, object]:
    return {"model": MODEL, "prompt": f"{number}", "max_tokens": TOKENS, "stream": True}


class _Flood:
    def __init__(self, here: Site, port: int, rng: random.Random):
        self._here, self._port, self._rng = here, port, rng
        self.kinds: Counter[str] = Counter()
        self.offered = 0
        self.took: list[float] = []
        self.retry_after: list[int] = []
        self.memory: list[dict[str, float]] = []
        self.faults: list[str] = []

    async def pour(self, per_s: float, seconds: float) -> None:
        tasks: set[asyncio.Task[None]] = set()
        began = due = time.monotonic()
        watching = asyncio.create_task(self._watch(seconds / 6))
        while due < began + seconds:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            task = asyncio.create_task(self._one(began + seconds))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += self._rng.expovariate(per_s)
        watching.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _one(self, until: float) -> None:
        self.offered += 1
        began, got = time.monotonic(), Call()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            got = await call(self._port, _body(self.offered))
        if got.whole:
            self.kinds["answered" if time.monotonic() < until else "answered after the flood"] += 1
            self.took.append(time.monotonic() - began)
        elif got.status in (429, 503) and "retry-after" in got.headers:
            self.kinds[f"refused with {got.status}"] += 1
            self.retry_after.append(int(got.headers["retry-after"]))
        else:
            self.kinds["something else"] += 1
            self.faults.append(f"{got.status} {got.headers} {bytes(got.body[-200:])!r}")

    async def _watch(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.memory.append(await _memory(self._here, self._port))


async def _memory(here: Site, port: int) -> dict[str, float]:
    """MB that the API server, the engine child and Redis hold. Redis keeps each answer for a quarter of an hour."""
    (worker,) = await here.workers.of(MODEL)
    pids = {"api": here.apis[port].process.pid, "worker": worker.pid, "redis": here.redis.pid}
    return {name: _resident_mb(pid) for name, pid in pids.items()}


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
