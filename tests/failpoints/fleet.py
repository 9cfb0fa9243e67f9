"""One healthy worker and one healthy API server for all tests, and the victims that stand beside them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import httpx

from queuechat.audit import audit
from queuechat.bus import Bus
from queuechat.protocol import WorkerCard
from queuechat.roster import Census
from queuechat.timeline import Timeline, find_job, list_jobs
from tests.conftest import free_port
from tests.failpoints.cases import Case
from tests.processes import Command, census_when

RATE = 100  # tokens/s of a stream

_TAKES = {"healthy": 4, "victim": 16}  # at a time: the victim must get its part of a handful of jobs


class Victim:
    """A process that fails at its point, once, and leaves a line that says so."""

    def __init__(self, command: Command, file: Path, case: Case):
        self.command, self._file, self.case = command, file, case
        self.id = ""  # of a worker
        self.child = 0
        self.url = ""  # of an API server

    @property
    def hit(self) -> bool:
        return self._file.exists() and self._file.stat().st_size > 0

    @property
    def failed(self) -> int:
        """The process that did."""
        point, action, pid = self._file.read_text().split()
        assert (point, action) == (self.case.point, self.case.action)
        return int(pid)


class Fleet:
    """Everything that one model has."""

    def __init__(self, url: str, bus: Bus, model: str, folder: Path):
        self.bus, self.model = bus, model
        self._url, self._folder = url, folder
        self._healthy: list[Command] = []
        self._numbers = itertools.count(1)
        self.id = ""  # of the healthy worker
        self.api_url = ""

    async def open(self) -> None:
        command = await self._worker("healthy")
        self._healthy.append(command)
        self.id = (await self.new_worker(command)).id

    async def open_api(self) -> None:
        """Only when somebody needs it."""
        if not self.api_url:
            command, self.api_url = await self._api()
            self._healthy.append(command)
            await _listening(command, self.api_url)

    async def close(self) -> None:
        await asyncio.gather(*(command.stop() for command in self._healthy))

    @contextlib.asynccontextmanager
    async def worker(self, case: Case, **env: str) -> AsyncIterator[Victim]:
        """A worker that is ready, and will fail."""
        file = self._file()
        victim = Victim(await self._worker("victim", **_orders(case, file), **env), file, case)
        try:
            card = await self.new_worker(victim.command)
            victim.id, victim.child = card.id, card.pid
            yield victim
        finally:
            await victim.command.stop()

    @contextlib.asynccontextmanager
    async def api(self, case: Case, **env: str) -> AsyncIterator[Victim]:
        """A server that listens, and will fail."""
        await self.open_api()
        file = self._file()
        command, url = await self._api(**_orders(case, file), **env)
        victim = Victim(command, file, case)
        victim.url = url
        try:
            await _listening(command, url)
            yield victim
        finally:
            await command.stop()

    async def healthy(self) -> WorkerCard:
        """The healthy worker as it is now."""
        return await self.card(self.id)

    async def new_worker(self, command: Command, after: int = 0) -> WorkerCard:
        """Its card, as soon as it is ready; with another child than the process `after`."""

        def new(census: Census) -> list[WorkerCard]:
            cards = [card for card in census.workers if card.model == self.model and card.id != self.id]
            return [card for card in cards if card.state == "ready" and card.pid != after]

        def there(census: Census) -> bool:
            assert command.process.returncode is None, command.log.read_text()
            return bool(new(census))

        (card,) = new(await census_when(self.bus, there))
        return card

    async def until_at_work(self, worker: str, tokens: int = 3) -> None:
        """A worker has a job of which something is delivered."""
        while not any(
            job.owned and job.worker == worker and job.tokens >= tokens
            for job in await list_jobs(self.bus, [self.model])
        ):
            await asyncio.sleep(0.02)

    async def card(self, worker: str) -> WorkerCard:
        """As soon as it has one (again)."""
        census = await census_when(self.bus, lambda census: any(card.id == worker for card in census.workers))
        return next(card for card in census.workers if card.id == worker)

    async def ended(self, id: str) -> Timeline:
        """A job when it is over. This is no viewer: nobody is kept from cancelling it."""
        while not (job := await find_job(self.bus, [self.model], id)) or not job.over:
            await asyncio.sleep(0.05)
        return job

    async def all_ended(self, ids: Iterable[str]) -> None:
        """So are these, and then all is well."""
        for id in ids:
            await self.ended(id)
        await self.check()

    async def taken_again(self, ids: Iterable[str]) -> bool:
        """Whether any of these jobs had to change hands."""
        jobs = [await find_job(self.bus, [self.model], id) for id in ids]
        return any(job.epoch > 1 for job in jobs if job)

    async def until_gone(self, worker: str) -> None:
        await census_when(self.bus, lambda census: all(card.id != worker for card in census.workers))

    async def check(self) -> None:
        """Nothing waits, nothing runs, and all keys agree."""
        depth = await self.bus.depth(self.model)
        assert (depth.waiting, depth.running, depth.bulk_waiting, depth.dead) == (0, 0, 0, 0)
        assert (await audit(self.bus, self.model)).faults == []

    async def _worker(self, kind: str, **env: str) -> Command:
        arguments = ["worker", "--model", "echo", "--name", self.model, "--echo-rate", str(RATE)]
        return await self._command([*arguments, "--max-running", str(_TAKES[kind])], **env)

    async def _api(self, **env: str) -> tuple[Command, str]:
        port = free_port()
        return await self._command(["api", "--port", str(port)], **env), f"http://127.0.0.1:{port}"

    async def _command(self, arguments: list[str], **env: str) -> Command:
        return await Command.start(arguments, self._folder, QUEUECHAT_REDIS_URL=self._url, **env)

    def _file(self) -> Path:
        return self._folder / f"hit-{next(self._numbers)}"


def _orders(case: Case, file: Path) -> dict[str, str]:
    return {"QUEUECHAT_FAILPOINT": case.entry, "QUEUECHAT_FAILPOINT_LOG": str(file)}


async def _listening(command: Command, url: str) -> None:
    async with httpx.AsyncClient() as http:
        while True:
            assert command.process.returncode is None, command.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                await http.get(f"{url}/livez")
                return
            await asyncio.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only what its parent has not yet asked for."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(seen: Callable[[], bool]) -> None:
    while not seen():
        await asyncio.sleep(0.02)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
