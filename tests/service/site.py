"""Redis, echo workers and API servers as a user starts them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx

from queuechat.bus import Bus
from tests.conftest import free_port, start_redis
from tests.processes import Command, Workers

MODEL = "busy"


class Site:
    """`async with site(...)` makes one; `apis` are ports."""

    def __init__(self, bus: Bus, workers: Workers, folder: Path, redis: subprocess.Popen[bytes]):
        self.bus, self.workers, self.folder, self.redis = bus, workers, folder, redis
        self.apis: dict[int, Command] = {}
        self.url = bus.url

    async def worker(self, rate: float, running: int, **env: str) -> Command:
        options = ("--echo-rate", str(rate), "--max-running", str(running))
        return await self.workers.start("echo", MODEL, *options, **env)

    async def api(self, port: int = 0, **env: str) -> int:
        """Start a server, on that port if one is given; answers its port once it is ready."""
        port = port or free_port()
        command = await Command.start(["api", "--port", str(port)], self.folder, QUEUECHAT_REDIS_URL=self.url, **env)
        async with asyncio.timeout(60), httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                        break
                await asyncio.sleep(0.05)
        self.apis[port] = command
        return port


@contextlib.asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """A Redis of its own; everything that was started is stopped at the end."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    port = free_port()
    redis = start_redis(folder, port)
    bus = await Bus(f"redis://127.0.0.1:{port}").open()
    made = Site(bus, Workers(bus.url, bus, folder / "w"), folder, redis)
    try:
        yield made
    finally:
        await asyncio.gather(*(command.stop() for command in made.apis.values()))
        await made.workers.stop()
        await bus.close()
        redis.kill()
        redis.wait()


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
