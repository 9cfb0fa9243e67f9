"""The supervisor's end of an engine child: spawn it, hear its status, tell it things, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import orjson

from workers.models import Spec

EX_CONFIG = 78  #: sysexits.h: starting again would not help
EX_ENGINE = 70


@dataclass(slots=True)
class Status:
    """What a child last said of itself."""

    ready: bool = False
    context_length: int = 0
    capacity: int = 0
    resume: str = "distribution"
    embeds: bool = False
    device: str = ""
    steps: int = 0
    tokens: int = 0
    running: int = 0


class EngineProcess:
    """A running child. `status` is kept up to date; `moved_at` is when its step counter last moved or it was idle."""

    def __init__(self, process: asyncio.subprocess.Process, status_fd: int):
        self._process = process
        self.status = Status()
        self.moved_at = time.monotonic()
        self.pid = process.pid
        self._listener = asyncio.create_task(self._listen(status_fd), name=f"status of {process.pid}")

    @classmethod
    async def spawn(cls, spec: Spec) -> EngineProcess:
        """Start `workers.child` in a session of its own, so that Ctrl-C reaches only the supervisor."""
        read_fd, write_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "workers.child", str(write_fd)),
                stdin=asyncio.subprocess.PIPE,
                stdout=sys.stderr,
                pass_fds=[write_fd],
                # Threads that spin while they wait are ten times slower when API and Redis share the cores.
                env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
                start_new_session=True,
            )
        finally:
            os.close(write_fd)
        child = cls(process, read_fd)
        child.tell(spec.encode().decode())
        return child

    def tell(self, line: str) -> None:
        """A line for the child; lost if it is dead."""
        if self._process.stdin and not self._process.stdin.is_closing():
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(line.encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL: an engine in native code hears nothing less."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, once it has one."""
        code = await self._process.wait()
        self._listener.cancel()
        return code

    def stalled_s(self) -> float:
        """Seconds without an engine step while it had work."""
        return time.monotonic() - self.moved_at if self.status.ready and self.status.running else 0.0

    async def _listen(self, fd: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(fd, "rb", 0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while line := await reader.readline():
                self._heard(orjson.loads(line))
        finally:
            transport.close()

    def _heard(self, said: dict[str, Any]) -> None:
        before = self.status.steps
        for name, value in said.items():
            setattr(self.status, name, value)
        if self.status.steps != before or not self.status.running:
            self.moved_at = time.monotonic()
