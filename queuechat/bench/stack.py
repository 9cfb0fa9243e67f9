"""A stack of its own for measuring the path alone: Redis, API processes and echo workers, on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import queuechat
from queuechat.bus import Bus
from queuechat.embedded import redis_for
from queuechat.errors import Misconfigured
from queuechat.roster import take_census

MODEL = "echo"
_START_S = 180.0
_STOP_S = 20.0
#: Settings of this shell that would change who may ask, or how much. All others hold in the stack, too.
_DROPPED = ("REDIS_URL", "API_KEYS", "REQUIRE_KEY", "KEY_CONCURRENCY", "KEY_RPM", "KEY_TPM", "STATE_DIR", "FILES_DIR")


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs. `rate` is echo's tokens a second of each stream, 0 as fast as it goes; `max_running` a worker's batch.
    `served` are arguments of `queuechat worker` for another model, in place of echo's."""

    apis: int = 1
    workers: int = 1
    rate: float = 0.0
    max_running: int = 64
    deadline_s: float = 600.0
    served: Sequence[str] = ()

    @property
    def worker(self) -> list[str]:
        model = self.served or ("--model", MODEL, "--echo-rate", str(self.rate))
        return ["worker", *model, "--max-running", str(self.max_running)]


@dataclass(frozen=True, slots=True)
class Stack:
    """Where it listens, and its processes by part."""

    urls: Sequence[str]
    pids: dict[str, list[int]]


@contextlib.asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[Stack]:
    """The stack, ready to answer, until the end of the block.

    Raises:
        Misconfigured: a part of it did not start; its last lines are told.
    """
    with tempfile.TemporaryDirectory(prefix="qcb-") as folder, redis_for(None, Path(folder, "redis")) as url:
        async with contextlib.AsyncExitStack() as leaving:
            env = _environment(url, plan)
            ports = [free_port() for _ in range(plan.apis)]
            commands = {f"worker{k}": plan.worker for k in range(plan.workers)}
            commands |= {f"api{k}": ["api", "--port", str(port)] for k, port in enumerate(ports)}
            parts = {
                name: await leaving.enter_async_context(Part.running(["-m", "queuechat", *command], name, folder, env))
                for name, command in commands.items()
            }
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            redis = await _ready(url, plan, list(parts.values()), urls)
            pids = {
                kind: [part.pid for name, part in parts.items() if name.startswith(kind)] for kind in ("api", "worker")
            }
            yield Stack(urls, {"redis": [redis], **pids})


@contextlib.asynccontextmanager
async def bare() -> AsyncIterator[Stack]:
    """The server that only streams, in a process of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="qcb-") as folder:
        command = ["-m", "queuechat.bench.bare", str(port)]
        async with Part.running(command, "bare", folder, this_code()) as part:
            await part.answering(f"http://127.0.0.1:{port}/")
            yield Stack([f"http://127.0.0.1:{port}"], {"bare": [part.pid]})


class Part:
    """One process of a stack; what it says goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path):
        self._process, self._log, self.pid = process, log, process.pid

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, arguments: list[str], name: str, folder: str, env: dict[str, str]) -> AsyncIterator[Part]:
        log = Path(folder, f"{name}.log")
        out = os.open(log, os.O_WRONLY | os.O_CREAT)
        # A session of its own, so that Ctrl-C reaches us alone; a folder of its own, so that no .env is read.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments), env=env, cwd=folder, stdout=out, stderr=out, start_new_session=True
        )
        os.close(out)
        try:
            yield cls(process, log)
        finally:
            await _stop(process)

    def check(self) -> None:
        """Raises Misconfigured when it has ended."""
        if self._process.returncode is not None:
            said = " / ".join(self._log.read_text(errors="replace").splitlines()[-3:])
            raise Misconfigured(f"{self._log.stem} of the bench's own stack ended: {said or 'it said nothing'}")

    async def answering(self, url: str) -> None:
        """Return when its server answers. Raises Misconfigured when it ends before."""
        while not await asyncio.to_thread(_answers, url):
            self.check()
            await asyncio.sleep(0.05)


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _ready(url: str, plan: Plan, parts: list[Part], urls: list[str]) -> int:
    """Wait until all of it answers; the pid of Redis."""
    bus = await Bus(url).open()
    try:
        async with asyncio.timeout(_START_S):
            while sum(worker.state == "ready" for worker in (await take_census(bus)).workers) < plan.workers:
                for part in parts:
                    part.check()
                await asyncio.sleep(0.05)
            for part, address in zip(parts[plan.workers :], urls, strict=True):
                await part.answering(f"{address}/readyz")
        return int((await bus.connection.command("INFO", "server"))["process_id"])
    except TimeoutError:
        raise Misconfigured(f"the bench's own stack was not ready within {_START_S:.0f} s") from None
    finally:
        await bus.close()


def _environment(url: str, plan: Plan) -> dict[str, str]:
    dropped = {"REDIS_URL", *(f"QUEUECHAT_{name}" for name in _DROPPED)}
    kept = {name: value for name, value in this_code().items() if name not in dropped}
    ours = {"REDIS_URL": url, "DEADLINE_S": str(plan.deadline_s), "LOG_LEVEL": "warning", "DRAIN_S": "1"}
    return kept | {f"QUEUECHAT_{name}": value for name, value in ours.items()}


def this_code() -> dict[str, str]:
    """An environment whose Python finds the packages that this process runs, wherever it starts."""
    paths = [str(Path(queuechat.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.HTTPError, OSError):
        return False
