"""Redis, workers and API servers as processes of their own, and every way to hurt them. Linux: it looks into /proc."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import signal
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx

from queuechat import keys
from queuechat.bus import Bus
from queuechat.roster import take_census
from tests.chaos.proxy import Proxy
from tests.chaos.worker import Worker
from tests.conftest import free_port, start_redis
from tests.processes import Command

# What no process of ours says unless it has a bug. An engine child that was killed (-9), or has lost its supervisor,
# is none.
_CONFESSIONS = re.compile(
    r"Traceback \(most recent|never retrieved|died \(exit code (?!-9\))|Segmentation fault|a bug, see"
)

_REGRET = re.compile(r"^queuechat: Redis at \S+ does not answer", re.MULTILINE)


class Fleet:
    """`async with Fleet(folder, ...)` starts everything and leaves nothing behind.

    With `proxied`, workers reach Redis through `back` and whoever asks through `front`.
    """

    def __init__(
        self, folder: Path, *, workers: int, rate: float, running: int = 32, apis: int = 0, proxied: bool = False
    ):
        self.model = "storm"
        self._folder, self._rate, self._running, self._proxied = folder, rate, running, proxied
        self._redis_port = free_port()
        self._redis: subprocess.Popen[bytes] | None = None
        self.front, self.back = Proxy(self._redis_port), Proxy(self._redis_port)
        self.bus = Bus(f"redis://127.0.0.1:{self._redis_port}", patience_s=math.inf)
        self.workers = [Worker(number) for number in range(workers)]
        self._api_ports = [free_port() for _ in range(apis)]
        self._apis: dict[int, Command] = {}
        self._commands: list[Command] = []
        self._slain: set[Command] = set()  # what we killed ourselves
        self._jobs: set[asyncio.Task[None]] = set()
        self._failures: list[str] = []

    async def __aenter__(self) -> Fleet:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._start_redis()
        await self.bus.open()
        await self.front.__aenter__()
        await self.back.__aenter__()
        for worker in self.workers:
            await self._spawn(worker)
        await self.until(lambda: all(worker.child for worker in self.workers))
        for port in self._api_ports:
            await self._start_api(port)

    async def _end(self) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for worker in self.workers:
            if child := worker.child:
                os.kill(child, signal.SIGKILL)
        for command in self._commands:
            with contextlib.suppress(ProcessLookupError):
                command.send(signal.SIGKILL)
            await command.process.wait()
        await self.bus.close()
        await self.front.__aexit__()
        await self.back.__aexit__()
        if self._redis:
            self._redis.kill()
            self._redis.wait()

    # -- where everything is ---------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Redis, for whoever asks."""
        return f"redis://127.0.0.1:{self.front.port if self._proxied else self._redis_port}"

    @property
    def servers(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._api_ports]

    @property
    def ready_apis(self) -> list[int]:
        """Ports of API servers that run and to which nothing is being done."""
        return sorted(self._apis)

    @property
    def idle_workers(self) -> list[Worker]:
        """Those that serve and to which nothing is being done."""
        return [worker for worker in self.workers if worker.child and not worker.busy]

    async def look(self) -> None:
        """See what the workers say of themselves now."""
        cards = (await take_census(self.bus)).workers
        for worker in self.workers:
            worker.seen(cards)

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Look until it is as wanted."""
        async with asyncio.timeout(240):
            await self.look()
            while not wanted():
                self._check_alive()
                await asyncio.sleep(0.1)
                await self.look()

    async def owned(self, ids: list[str]) -> dict[str, str]:
        """For each job that runs now, the worker that owns it."""
        if not ids:
            return {}
        rows = await self.bus.connection.insist([("HGET", keys.job(self.model, id), "own") for id in ids])
        return {id: own.decode().rpartition("/")[0] for id, own in zip(ids, rows, strict=True) if own}

    # -- faults ----------------------------------------------------------------------------------------------------

    def kill_worker(self, worker: Worker, *, both: bool) -> None:
        """A node is lost; a new one takes its place in the fleet as soon as it can."""
        worker.busy = True
        self._slain.add(worker.command)
        worker.kill(both=both)
        self._in_background(self._replace(worker))

    def pause_child(self, worker: Worker, for_s: float) -> None:
        self._in_background(self._pause(worker, for_s, worker.to_child()))

    def pause_supervisor(self, worker: Worker, for_s: float) -> None:
        self._in_background(self._pause(worker, for_s, worker.command.send))

    async def kill_redis(self, down_s: float = 0.0) -> None:
        """Returns when it answers again."""
        assert self._redis
        self._redis.kill()
        self._redis.wait()
        await asyncio.sleep(down_s)
        await self._start_redis()

    def kill_api(self, port: int) -> None:
        """A successor takes its port."""
        victim = self._apis.pop(port)
        self._slain.add(victim)
        victim.send(signal.SIGKILL)
        self._in_background(self._replace_api(port, victim))

    async def settle(self) -> None:
        """Wait until all that was begun is done and every worker serves."""
        while self._jobs:
            await asyncio.wait(self._jobs)
        await self.until(lambda: all(worker.child for worker in self.workers))

    def confessions(self) -> list[str]:
        """What the logs say that must never be said, and who ended without having been killed."""
        said = [
            f"{log.name}: {line.strip()}"
            for log in sorted(self._folder.glob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if _CONFESSIONS.search(line)
        ]
        fallen = [f"{command.log.name}: ended with {command.process.returncode}" for command in self._fallen()]
        return self._failures + fallen + said

    # -- processes -------------------------------------------------------------------------------------------------

    async def _start_redis(self) -> None:
        self._redis = await asyncio.to_thread(start_redis, self._folder, self._redis_port)

    async def _spawn(self, worker: Worker) -> None:
        port = self.back.port if self._proxied else self._redis_port
        options = ("--echo-rate", str(self._rate), "--max-running", str(self._running))
        worker.born(await self._command(["worker", "--model", "echo", "--name", self.model, *options], port))

    async def _start_api(self, port: int) -> None:
        redis = self.front.port if self._proxied else self._redis_port
        arguments = ["api", "--port", str(port)]
        command = await self._command(arguments, redis)
        async with asyncio.timeout(120), httpx.AsyncClient() as http:
            while not await _is_ready(http, port):
                self._check_alive()
                if _turned_away(command):
                    command = await self._command(arguments, redis)
                await asyncio.sleep(0.1)
        self._apis[port] = command

    async def _command(self, arguments: list[str], redis_port: int) -> Command:
        url = f"redis://127.0.0.1:{redis_port}"
        command = await Command.start(arguments, self._folder, QUEUECHAT_REDIS_URL=url)
        self._commands.append(command)
        return command

    async def _replace(self, worker: Worker) -> None:
        await worker.command.process.wait()
        await self._spawn(worker)
        while not worker.child:
            if _turned_away(worker.command):
                await self._spawn(worker)
            await self.until(lambda: bool(worker.child or _turned_away(worker.command)))
        worker.busy = False

    async def _replace_api(self, port: int, victim: Command) -> None:
        await victim.process.wait()
        await self._start_api(port)

    async def _pause(self, worker: Worker, for_s: float, send: Callable[[signal.Signals], None]) -> None:
        worker.busy = True
        send(signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                send(signal.SIGCONT)
        worker.busy = False

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._done)

    def _done(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()):
            self._failures.append(f"the fleet failed: {error!r}")

    def _fallen(self) -> list[Command]:
        ended = (command for command in self._commands if command.process.returncode is not None)
        return [command for command in ended if command not in self._slain and not _turned_away(command)]

    def _check_alive(self) -> None:
        for command in self._fallen():
            raise RuntimeError(f"{command.log} ended by itself:\n{command.log.read_text()[-2000:]}")


def _turned_away(command: Command) -> bool:
    """It ended because Redis could not be reached when it started: whoever runs it starts it again."""
    return command.process.returncode == 1 and bool(_REGRET.search(command.log.read_text()))


async def _is_ready(http: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
