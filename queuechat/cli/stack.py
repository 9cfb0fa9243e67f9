"""`queuechat up`: the processes of a one-machine stack, started together, stopped front to back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from queuechat.bus import Bus
from queuechat.cli.app import err, out
from queuechat.cli.checking import answers
from queuechat.errors import Misconfigured, QueuechatError
from queuechat.roster import take_census
from queuechat.settings import Settings

_WORKER = "worker"  # the second and further ones with their number; other parts are called by what they are


def run_stack(loaded: Settings, url: str, *, models: Sequence[str], engine: str | None, name: str | None) -> None:
    """Run API, web page and a worker for each model until SIGTERM, or until one of them ends.

    Raises:
        Misconfigured: one of them could not run; its own lines say why.
    """
    more = ["--engine", engine] if engine else []
    more += ["--name", name] if name else []
    listen = ["--host", loaded.host, "--port"]
    parts = {
        "api": ["api", *listen, str(loaded.api_port)],
        "ui": ["ui", *listen, str(loaded.ui_port)],
        "background": ["background"],
    }
    for number, model in enumerate(models, 1):
        parts[_WORKER if number == 1 else f"{_WORKER} {number}"] = ["worker", "--model", model, *more]
    asyncio.run(_Stack(loaded, url, parts).run())


class _Stack:
    def __init__(self, loaded: Settings, url: str, parts: dict[str, list[str]]):
        self._loaded, self._url, self._parts = loaded, url, parts
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()
        self._began = time.time()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        env = {**os.environ, "QUEUECHAT_REDIS_URL": self._url}
        for part, arguments in self._parts.items():
            # Sessions of their own: Ctrl-C reaches us, and we stop them in order.
            self._processes[part] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "queuechat", *arguments), env=env, start_new_session=True
            )
        greeting = asyncio.create_task(self._greet(), name="greeting")
        failed = await self._until_over()
        greeting.cancel()
        await self._shut_down()
        if failed:
            raise Misconfigured(f"the {failed} process ended by itself; its lines above say why")

    async def _until_over(self) -> str | None:
        """Wait for the signal to stop, or for a process that ends without one: its name. A worker that was drained
        from afar has ended well: the front ends stay, for other workers."""
        waits = {asyncio.create_task(p.wait()): part for part, p in self._processes.items()}
        stop = asyncio.create_task(self._stop.wait())
        while True:
            done, pending = await asyncio.wait({*waits, stop}, return_when=asyncio.FIRST_COMPLETED)
            fallen = [waits.pop(task) for task in done - {stop}]
            if stop in done or not all(map(self._was_drained, fallen)):
                break
            err.print("queuechat: the worker was drained; start another with: queuechat worker --model …")
        for task in pending:
            task.cancel()
        return None if stop in done else fallen[0]

    def _was_drained(self, part: str) -> bool:
        return part.startswith(_WORKER) and self._processes[part].returncode == 0

    async def _shut_down(self) -> None:
        """Front ends first, so that what they still answer finds its worker."""
        err.print("queuechat: stopping")
        for part in ("ui", "api", "background"):
            await self._end(self._processes[part])
        await asyncio.gather(*map(self._end, self._workers))

    @property
    def _workers(self) -> list[asyncio.subprocess.Process]:
        return [process for part, process in self._processes.items() if part.startswith(_WORKER)]

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._loaded.drain_s + 15):
                await process.wait()
        except TimeoutError:
            process.kill()

    @property
    def _address(self) -> str:
        return "127.0.0.1" if self._loaded.host in ("0.0.0.0", "::") else self._loaded.host

    async def _greet(self) -> None:
        """Say where everything is, once all of it answers."""
        bus = await Bus(self._url).open()
        started = time.monotonic()
        try:
            names = await _ready_models(bus, len(self._workers), self._began)
            for page in (f"{self._loaded.api_port}/livez", f"{self._loaded.ui_port}/"):
                while not await asyncio.to_thread(answers, f"http://{self._address}:{page}"):
                    await asyncio.sleep(0.2)
        except QueuechatError as error:
            err.print(f"queuechat: {error.message}", markup=False)
            return
        finally:
            await bus.close()
        self._print_welcome(names, time.monotonic() - started)

    def _print_welcome(self, models: Sequence[str], seconds: float) -> None:
        host = self._address
        api = f"http://{host}:{self._loaded.api_port}/v1"
        key = " -H 'Authorization: Bearer …'" if self._loaded.api_keys or self._loaded.require_key else ""
        body = f'{{"model":"{models[0]}","messages":[{{"role":"user","content":"What is the capital of France?"}}]}}'
        lines = (
            f"\nqueuechat is up ({seconds:.0f} s): {' and '.join(models)} answer{'s' if len(models) == 1 else ''}",
            f"  chat  http://{host}:{self._loaded.ui_port}",
            f"  API   {api}",
            f"  try   curl {api}/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'",
            "  see   queuechat top · queuechat ps · queuechat chat\n",
        )
        for line in lines:
            out.print(line, markup=False, soft_wrap=True)


async def _ready_models(bus: Bus, count: int, since: float) -> list[str]:
    """The names of what this host's workers of since then serve, once so many of them are ready."""
    while True:
        cards = [card for card in (await take_census(bus)).workers if card.host == socket.gethostname()]
        ready = [card.model for card in cards if card.state == "ready" and card.started >= int(since * 1000)]
        if len(ready) >= count:
            return sorted(set(ready))
        await asyncio.sleep(0.2)
