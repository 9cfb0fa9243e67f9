"""Sending what is asked, when it is due, and reading all answers at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import cycle

from queuechat.bench.arrivals import offsets
from queuechat.bench.connections import Server, clock
from queuechat.bench.processes import Processes
from queuechat.bench.streaming import Reading
from queuechat.bench.target import Target
from queuechat.bench.workload import Ask


@dataclass(frozen=True, slots=True)
class Pace:
    """When requests are sent: `concurrency` at a time, each as soon as one has ended (closed loop); or, where there is
    a `rate`, that many a second whatever becomes of them (open loop), yet no more than `max_concurrency` at a time."""

    concurrency: int = 1
    rate: float | None = None
    burstiness: float = 1.0
    max_concurrency: int | None = None
    seed: int = 0
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Run:
    """What happened. Times are of one monotonic clock, in seconds."""

    readings: Sequence[Reading]
    started: float
    ended: float
    generator_cpu_s: float  #: what measuring itself took
    server_cpu_s: Mapping[str, float]  #: what the watched processes took, by name
    warm_up_errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def good(self) -> list[Reading]:
        return [reading for reading in self.readings if reading.good]

    @property
    def duration(self) -> float:
        return self.ended - self.started


async def drive(
    targets: Sequence[Target],
    asks: Sequence[Ask],
    pace: Pace,
    *,
    warm_up: Sequence[Ask] = (),
    watched: Mapping[str, Sequence[int]] | None = None,
    make: Callable[[float], Reading] = Reading,
) -> Run:
    """Ask everything, requests spread over the targets in turn; `warm_up` before that, and in no figure.

    Args:
        watched: processes whose CPU time is told, their children included, by a name for each group of them.
        make: what reads an answer.

    Raises:
        InvalidRequest: the targets cannot be asked such a thing.
    """
    servers = [(target, Server(target.url)) for target in targets]
    driver = _Driver(servers, pace, make)
    bodies = [target.body(ask) for ask, target in zip(asks, cycle(targets), strict=False)]
    warm = [target.body(ask) for ask, target in zip(warm_up, cycle(targets), strict=False)]
    try:
        await driver.closed(warm, min(len(warm), pace.max_concurrency or pace.concurrency))
        warm_up_errors = Counter(reading.failure for reading in driver.readings if reading.failure)
        driver.readings.clear()
        groups = {name: Processes(pids) for name, pids in (watched or {}).items()}
        cpu, started = time.process_time(), clock()
        await (driver.opened(bodies) if pace.rate else driver.closed(bodies, pace.concurrency))
        ended, cpu = clock(), time.process_time() - cpu
    finally:
        for _, server in servers:
            server.close()
    used = {name: group.cpu_s() for name, group in groups.items()}
    return Run(driver.readings, started, ended, cpu, used, dict(warm_up_errors))


@dataclass(slots=True)
class _Driver:
    servers: Sequence[tuple[Target, Server]]
    pace: Pace
    make: Callable[[float], Reading]
    readings: list[Reading] = field(default_factory=list)

    async def closed(self, bodies: Sequence[bytes], concurrency: int) -> None:
        waiting = iter(zip(bodies, cycle(self.servers), strict=False))

        async def user() -> None:
            for body, server in waiting:
                await self._one(body, *server, clock())

        await asyncio.gather(*(user() for _ in range(concurrency)))

    async def opened(self, bodies: Sequence[bytes]) -> None:
        pace = self.pace
        assert pace.rate
        gate = asyncio.Semaphore(pace.max_concurrency) if pace.max_concurrency else nullcontext()
        start = clock()

        async def user(body: bytes, server: tuple[Target, Server], due: float) -> None:
            async with gate:
                await self._one(body, *server, due)

        async with asyncio.TaskGroup() as users:
            moments = offsets(len(bodies), pace.rate, pace.burstiness, pace.seed)
            for body, server, moment in zip(bodies, cycle(self.servers), moments, strict=False):
                await asyncio.sleep(start + moment - clock())
                users.create_task(user(body, server, start + moment))

    async def _one(self, body: bytes, target: Target, server: Server, due: float) -> None:
        reading = self.make(due)
        self.readings.append(reading)
        reading.sent = clock()
        try:
            async with asyncio.timeout(self.pace.timeout_s):
                await server.ask("POST", target.endpoint.path, dict(target.headers), body, reading)
        except TimeoutError:
            reading.failure = f"no end within {self.pace.timeout_s:g} s"
        except OSError as error:
            reading.failure = reading.failure or _kind(error)
        reading.end()


def _kind(error: OSError) -> str:
    """The same words whatever event loop, and without the address."""
    if (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return error.strerror or str(error) or type(error).__name__


def in_flight(readings: Sequence[Reading]) -> Iterator[tuple[float, int]]:
    """How many requests were under way, at each moment that one more or one fewer was."""
    changes = sorted(
        [(reading.sent, 1) for reading in readings] + [(max(reading.ended, reading.sent), -1) for reading in readings]
    )
    running = 0
    for moment, change in changes:
        running += change
        yield moment, running
