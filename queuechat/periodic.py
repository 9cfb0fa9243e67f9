"""Work that is done once a second for as long as somebody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from queuechat import keys
from queuechat.errors import QueuechatError

log = logging.getLogger(__name__)


class Periodic:
    """`async with Periodic(work, name)` repeats `work`, a pause of `every_s` before each time.

    An error of ours is logged as a warning, a bug with its traceback, and the next turn tried: what is done every
    second heals by itself, and must never just cease.
    """

    def __init__(self, work: Callable[[], Awaitable[object]], name: str, every_s: float = keys.BEAT_S):
        self._work, self._name, self._every_s = work, name, every_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Periodic:
        self._task = asyncio.create_task(self._repeat(), name=self._name)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._work()
            except QueuechatError as error:
                log.warning("%s: %s", self._name, error)
            except Exception:  # a bug; but who depends on this depends on it every second
                log.exception("%s failed", self._name)
