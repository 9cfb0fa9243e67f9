"""Real processes for tests: started as a user starts them, waited for by what they announce in Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from queuechat.bus import Bus
from queuechat.protocol import WorkerCard
from queuechat.roster import Census, take_census


class Command:
    """A `queuechat …` process in a session of its own; its output goes to a file that failures can show."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path):
        self.process, self.log = process, log

    @classmethod
    async def start(cls, arguments: list[str], folder: Path, **env: str) -> Command:
        log = _fresh_log(folder, arguments[0])
        environment = {**os.environ, "QUEUECHAT_STATE_DIR": str(folder), **env}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "queuechat", *arguments),
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(process, log)

    def send(self, name: signal.Signals) -> None:
        self.process.send_signal(name)

    async def stop(self) -> int:
        """SIGTERM, and its exit code; SIGKILL when it is stopped (SIGSTOP) or deaf."""
        if self.process.returncode is None:
            self.send(signal.SIGTERM)
            self.send(signal.SIGCONT)
            try:
                await asyncio.wait_for(self.process.wait(), 60)
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()


def _fresh_log(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{len(list(folder.iterdir()))}.log"


async def census_when(bus: Bus, wanted: Callable[[Census], bool]) -> Census:
    """The first census that is as wanted."""
    async with asyncio.timeout(240):
        while not wanted(census := await take_census(bus)):
            await asyncio.sleep(0.05)
    return census


class Workers:
    """Starts workers on one Redis and stops them all at the end."""

    def __init__(self, url: str, bus: Bus, folder: Path):
        self._url, self._bus, self._folder = url, bus, folder
        self._commands: list[Command] = []

    async def start(self, model: str, name: str, *options: str, **env: str) -> Command:
        """A worker that serves `name`; returns once it says that it is ready."""
        arguments = ["worker", "--model", model, "--name", name, *options]
        command = await Command.start(arguments, self._folder, QUEUECHAT_REDIS_URL=self._url, **env)
        self._commands.append(command)
        before = {card.id for card in await self.of(name)}

        def is_ready(census: Census) -> bool:
            assert command.process.returncode is None, command.log.read_text()
            new = [w for w in census.workers if w.model == name.split(",")[0] and w.id not in before]
            return any(worker.state == "ready" for worker in new)

        await census_when(self._bus, is_ready)
        return command

    async def of(self, name: str) -> list[WorkerCard]:
        model = (await take_census(self._bus)).find(name.split(",")[0])
        return model.workers if model else []

    async def stop(self) -> None:
        await asyncio.gather(*(command.stop() for command in self._commands))
