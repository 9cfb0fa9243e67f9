"""Faults by a seeded schedule: the seed gives what comes when and whom it strikes; the load gives who was there."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from tests.chaos.fleet import Fleet
from tests.chaos.history import History, Hit, Request
from tests.chaos.proxy import Proxy
from tests.chaos.worker import Worker

CHILD, NODE = "engine child killed", "whole worker killed"

Weather = Mapping[str, float]  # how often each kind of fault comes, relative to the others

MIXED: Weather = {
    CHILD: 8,
    NODE: 2,
    "child stopped": 1,
    "supervisor stopped": 1,
    "redis killed": 2,
    "api killed": 2,
    "connections cut": 2,
    "replies lost": 2,
    "black hole": 1,
    "slow network": 1,
}


class Storm:
    """One seeded sequence of faults; `counts` says what has struck.

    A worker is struck only when `spare` others serve.
    """

    def __init__(self, fleet: Fleet, history: History, rng: random.Random, *, spare: int = 1):
        self._fleet, self._history, self._rng, self._spare = fleet, history, rng, spare
        self.counts: Counter[str] = Counter()
        self._troubled: set[Proxy] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._faults: dict[str, Callable[[], Awaitable[bool] | bool]] = {
            CHILD: self._kill_child,
            NODE: self._kill_worker,
            "child stopped": self._stop_child,
            "supervisor stopped": self._stop_supervisor,
            "redis killed": self._kill_redis,
            "api killed": self._kill_api,
            "connections cut": self._cut,
            "replies lost": self._lose_replies,
            "black hole": self._black_hole,
            "slow network": self._slow_down,
        }

    async def rage(self, weather: Weather, enough: Callable[[], bool], pace_s: tuple[float, float]) -> None:
        """One fault after the other, with a pause of `pace_s` (from, to) after each."""
        while not enough():
            (kind,) = self._rng.choices(list(weather), list(weather.values()))
            struck = self._faults[kind]()
            if struck if isinstance(struck, bool) else await struck:
                self.counts[kind] += 1
                await asyncio.sleep(self._rng.uniform(*pace_s))
            else:
                await asyncio.sleep(0.1)
        while self._background:
            await asyncio.wait(self._background)

    # -- workers: each answers whether there was anyone to strike --------------------------------------------------

    async def _kill_child(self) -> bool:
        worker = await self._strike(CHILD)
        if worker:
            worker.kill_child()
        return worker is not None

    async def _kill_worker(self) -> bool:
        worker = await self._strike(NODE)
        if worker:
            self._fleet.kill_worker(worker, both=self._rng.random() < 0.7)
        return worker is not None

    async def _stop_child(self) -> bool:
        worker = await self._strike("child stopped")
        if worker:
            self._fleet.pause_child(worker, self._rng.uniform(6, 12))
        return worker is not None

    async def _stop_supervisor(self) -> bool:
        worker = await self._strike("supervisor stopped")
        if worker:
            self._fleet.pause_supervisor(worker, self._rng.uniform(6, 9))
        return worker is not None

    async def _strike(self, kind: str) -> Worker | None:
        """A worker that serves and has something to lose; its requests take note."""
        await self._fleet.look()
        idle = self._fleet.idle_workers
        if len(idle) <= self._spare:
            return None
        running = await self._running()
        for worker in self._rng.sample(idle, len(idle)):
            if running.get(worker.id) and worker.child:
                for request in running[worker.id]:
                    request.hits.append(Hit(kind, time.monotonic()))
                return worker
        return None

    async def _running(self) -> dict[str, list[Request]]:
        """The requests that each worker runs now, by its id."""
        requests = {request.jobs[-1]: request for request in self._history.open.values() if request.jobs}
        running: dict[str, list[Request]] = {}
        for job, worker in (await self._fleet.owned(list(requests))).items():
            running.setdefault(worker, []).append(requests[job])
        return running

    # -- servers ---------------------------------------------------------------------------------------------------

    async def _kill_redis(self) -> bool:
        await self._fleet.kill_redis(self._rng.choice((0.0, self._rng.uniform(0, 3))))
        return True

    def _kill_api(self) -> bool:
        ready = self._fleet.ready_apis
        if len(ready) > 1:
            self._fleet.kill_api(self._rng.choice(ready))
        return len(ready) > 1

    # -- the network -----------------------------------------------------------------------------------------------

    def _cut(self) -> bool:
        return self._rng.choice((self._fleet.front, self._fleet.back)).cut() > 0

    def _lose_replies(self) -> bool:
        for_s = self._rng.uniform(0, 1)
        return self._trouble(lambda proxy: proxy.lose_replies(for_s))

    def _black_hole(self) -> bool:
        for_s, ways = self._rng.uniform(1, 8), self._rng.randrange(3)
        return self._trouble(lambda proxy: proxy.black_hole(for_s, *(((), (proxy.up,), (proxy.down,))[ways])))

    def _slow_down(self) -> bool:
        delay_s = self._rng.uniform(0.02, 0.2)
        return self._trouble(lambda proxy: _slowed(proxy, delay_s))

    def _trouble(self, what: Callable[[Proxy], Awaitable[None]]) -> bool:
        proxy = self._rng.choice((self._fleet.front, self._fleet.back))
        if proxy in self._troubled:
            return False
        task = asyncio.create_task(self._troubling(proxy, what))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return True

    async def _troubling(self, proxy: Proxy, what: Callable[[Proxy], Awaitable[None]]) -> None:
        self._troubled.add(proxy)
        try:
            await what(proxy)
        finally:
            self._troubled.discard(proxy)


async def _slowed(proxy: Proxy, delay_s: float) -> None:
    for way in (proxy.up, proxy.down):
        way.delay_s = delay_s
    try:
        await asyncio.sleep(3)
    finally:
        for way in (proxy.up, proxy.down):
            way.delay_s = 0.0
