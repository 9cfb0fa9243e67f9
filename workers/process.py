"""The supervisor's end of an engine child: spawn it, hear its status, tell it things, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from workers.memory import oom_kills
from workers.models import Spec
from workers.waiting import waiting

EX_CONFIG = 78  #: sysexits.h: starting again would not help
EX_ENGINE = 70


@dataclass(slots=True)
class Status:
    """What a child last said of itself."""

    ready: bool = False
    context_length: int = 0
    capacity: int = 0
    tool_format: str = ""
    reasoning: str = ""
    resume: Literal["exact", "distribution", "none"] = "distribution"
    embeds: bool = False
    device: str = ""
    grammars: list[str] = field(default_factory=list)
    logprobs: bool = False
    abilities: dict[str, Any] = field(default_factory=dict)  # more fields of the model card
    steps: int = 0
    tokens: int = 0
    running: int = 0
    working: int = 0


class EngineProcess:
    """A running child. `status` is kept up to date; `moved_at` is when its step counter last moved or it was idle,
    `heard_at` when it last said anything, `hung` whether it was ended for making no steps."""

    def __init__(self, process: asyncio.subprocess.Process, status_fd: int):
        self._process = process
        self.status = Status()
        self.moved_at = self.heard_at = time.monotonic()
        self.hung = False
        self._oom_kills = oom_kills()
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
                env={**waiting(os.environ, spec.engine), **os.environ},
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
        """Its exit code, once it has one. What it has started is in its session, and goes with it."""
        code = await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._listener.cancel()
        return code

    def stalled_s(self) -> float:
        """Seconds without an engine step while it had work."""
        return time.monotonic() - self.moved_at if self.status.ready and self.status.working else 0.0

    def silent_s(self) -> float:
        """Seconds since a child that serves has last said anything: it is stopped, or native code holds its GIL."""
        return time.monotonic() - self.heard_at if self.status.ready else 0.0

    def died_by_itself(self, code: int) -> bool:
        """Whether what it ran may have killed it: not if somebody sent SIGKILL, unless that was the kernel."""
        return self.hung or code != -signal.SIGKILL or oom_kills() > self._oom_kills

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
        self.heard_at = time.monotonic()
        for name, value in said.items():
            setattr(self.status, name, value)
        if self.status.steps != before or not self.status.working:
            self.moved_at = time.monotonic()


class Speed:
    """Tokens per second over the last few beats."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def of(self, tokens: int) -> float:
        now = time.monotonic()
        if self._points and tokens < self._points[-1][1]:  # another child counts from 0
            self._points.clear()
        self._points = [*self._points, (now, tokens)][-5:]
        since, before = self._points[0]
        return round((tokens - before) / (now - since), 1) if now > since else 0.0
