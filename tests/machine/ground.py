"""What a machine stands on: a redis-server of its own that may be killed, an event loop, and a bus."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from queuechat.bus import Bus
from tests.conftest import free_port, start_redis
from tests.machine.ears import Ears

T = TypeVar("T")


class Ground:
    """Shared by the examples of a run; each begins with an empty Redis. `seen` counts what was answered."""

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self._folder, self._port = folder, free_port()
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._server = start_redis(folder, self._port)
        self.seen: Counter[str] = Counter()
        self.bus = self.run(Bus(f"redis://127.0.0.1:{self._port}", patience_s=30).open())
        self.ears = self.run(Ears(self.bus).open())

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(what)

    def command(self, *args: Any) -> Any:
        return self.run(self.bus.connection.command(*args))

    def load(self, library: str) -> None:
        """Other functions than those of this release."""
        self.command("FUNCTION", "LOAD", "REPLACE", library)

    def restart(self) -> None:
        """kill -9 and up again with what was on disk."""
        self.ears.cut()
        self._server.kill()
        self._server.wait()
        self._server = start_redis(self._folder, self._port)
        self.run(self.ears.again())

    def close(self) -> None:
        self.run(self.bus.close())
        self._runner.close()
        self._server.kill()
        self._server.wait()
