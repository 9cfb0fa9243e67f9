"""The cases: what is built, what is asked of it, and what is done to it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from queuechat.bus import Bus
from queuechat.client import Client
from tests.chaos import books, web
from tests.chaos.fleet import Fleet
from tests.chaos.history import History
from tests.chaos.load import Asker, ByClient, Load
from tests.chaos.questions import Catalogue
from tests.chaos.report import Report
from tests.chaos.storm import CHILD, MIXED, NODE, Storm, Weather


@dataclass(frozen=True)
class Scene:
    """A fleet and its load. `tokens` is the shortest and the longest answer, `rate` tokens/s of a stream."""

    streams: int
    tokens: tuple[int, int]
    rate: float
    workers: int = 4
    running: int = 32
    apis: int = 0
    proxied: bool = False
    restless: float = 0.002
    spare: int = 1


@dataclass
class Stage:
    """A scene that has begun."""

    fleet: Fleet
    history: History
    load: Load
    storm: Storm

    async def while_asking(self, weather: Weather, faults: int, pace_s: tuple[float, float]) -> None:
        """Keep asking until so many faults have struck."""
        over, goal = False, self.storm.counts.total() + faults
        asking = asyncio.create_task(self.load.run(lambda: over))
        try:
            await self.storm.rage(weather, lambda: asking.done() or self.storm.counts.total() >= goal, pace_s)
        finally:
            over = True
            await asking

    async def until_answered(self, jobs: int, weather: Weather, pace_s: tuple[float, float]) -> None:
        """Let faults strike until so many requests were made."""
        asking = asyncio.create_task(self.load.run(lambda: self.load.begun >= jobs))
        await self.storm.rage(weather, lambda: asking.done() or self.load.begun >= jobs, pace_s)
        await asking


@contextlib.asynccontextmanager
async def staged(scene: Scene, seed: int, folder: Path) -> AsyncIterator[Stage]:
    """Everything up and proven to answer as the catalogue says."""
    rng = random.Random(seed)
    catalogue = await Catalogue.write(random.Random(rng.random()), topics=60, longest=scene.tokens[1])
    history = History(catalogue, interval_s=1 / scene.rate if scene.rate else 0.0)
    fleet = Fleet(
        folder, workers=scene.workers, rate=scene.rate, running=scene.running, apis=scene.apis, proxied=scene.proxied
    )
    async with fleet, web.caller() as http:
        bus = await Bus(fleet.url).open()
        try:
            async with Client(bus, queue_limit=100_000) as client:
                loose = random.Random(rng.random())
                askers: list[Asker] = [ByClient(client, fleet.model, loose, restless=scene.restless)]
                if scene.apis:
                    askers.append(web.ByPost(http, fleet.servers, fleet.model, loose))
                    askers.append(web.ByEvents(http, fleet.servers, fleet.model, loose, restless=scene.restless))
                load = Load(history, catalogue, loose, askers, streams=scene.streams, tokens=scene.tokens)
                await _calm(history, catalogue, askers, scene)
                yield Stage(fleet, history, load, Storm(fleet, history, random.Random(rng.random()), spare=scene.spare))
        finally:
            await bus.close()


async def _calm(history: History, catalogue: Catalogue, askers: list[Asker], scene: Scene) -> None:
    """The undisturbed fleet must say what the catalogue says, or the judge is no judge."""
    calm = replace(scene, tokens=(scene.tokens[0], scene.tokens[0]))
    load = Load(history, catalogue, random.Random(0), askers, streams=len(askers), tokens=calm.tokens)
    await load.run(lambda: load.begun >= 2 * len(askers))
    if faults := history.faults():
        raise RuntimeError(f"wrong without any fault: {faults}")


async def played(
    name: str, scene: Scene, seed: int, folder: Path, play: Callable[[Stage], Awaitable[None]]
) -> tuple[Report, list[str]]:
    """The figures of a case, and everything that the judge has against it."""
    async with staged(scene, seed, folder) as stage:
        began = time.monotonic()
        await play(stage)
        seconds = time.monotonic() - began
        await stage.fleet.settle()
        faults = stage.history.faults()
        faults += await books.audit(stage.fleet.bus, stage.fleet.model, stage.history.billed)
        faults += stage.fleet.confessions()
        return Report.of(name, seed, seconds, stage.history, stage.storm.counts, scene.streams), faults


async def kills(seed: int, folder: Path, count: int) -> tuple[Report, list[str]]:
    """SIGKILL to engine children, one at a time."""
    scene = Scene(streams=64, tokens=(40, 240), rate=20, spare=2)
    return await played("kills", scene, seed, folder, lambda s: s.while_asking({CHILD: 1}, count, (0.2, 0.8)))


async def relentless(seed: int, folder: Path, count: int) -> tuple[Report, list[str]]:
    """SIGKILL to every engine child as soon as it serves: no answer gets far at a time."""
    scene = Scene(streams=64, tokens=(40, 240), rate=20, spare=0)
    return await played("relentless", scene, seed, folder, lambda s: s.while_asking({CHILD: 1}, count, (0, 0.3)))


async def redis(seed: int, folder: Path, count: int) -> tuple[Report, list[str]]:
    """kill -9 and restart of Redis."""
    scene = Scene(streams=64, tokens=(20, 200), rate=20, apis=2)
    return await played("redis", scene, seed, folder, lambda s: s.while_asking({"redis killed": 1}, count, (0.5, 4)))


async def jobs(seed: int, folder: Path, count: int) -> tuple[Report, list[str]]:
    """Accepted jobs under every fault there is."""
    scene = Scene(streams=96, tokens=(8, 100), rate=20, apis=2, proxied=True)
    return await played("jobs", scene, seed, folder, lambda s: s.until_answered(count, MIXED, (0.3, 2.5)))


async def failover(seed: int, folder: Path, count: int) -> tuple[Report, list[str]]:
    """How long an answer pauses: a dead child under a living supervisor, then a lost node."""
    scene = Scene(streams=32, tokens=(200, 400), rate=20, restless=0)

    async def play(stage: Stage) -> None:
        await stage.while_asking({CHILD: 1}, count, (2, 3))
        await stage.while_asking({NODE: 1}, max(count // 4, 1), (8, 10))

    return await played("failover", scene, seed, folder, play)


CASES = {
    "kills": (kills, 1000),
    "relentless": (relentless, 60),
    "redis": (redis, 30),
    "jobs": (jobs, 10_000),
    "failover": (failover, 60),
}
