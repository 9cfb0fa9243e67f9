"""The lease of a batch, kept while it is worked on, and the news that keeping it brings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from queuechat.batches import Lease
from queuechat.errors import LeaseLost, QueuechatError
from queuechat.keys import BEAT_S

log = logging.getLogger(__name__)


class Keeper:
    """`async with Keeper(...)` renews a lease each second, with fields that `progress` gives. `on_news` is called when
    the status is no longer what it was, or the lease is lost."""

    def __init__(
        self,
        lease: Lease,
        progress: Callable[[], dict[str, Any]] = dict,
        on_news: Callable[[], None] = lambda: None,
    ):
        self._lease, self._progress, self._on_news = lease, progress, on_news

    async def __aenter__(self) -> Keeper:
        self._task = asyncio.create_task(self._keep(), name=f"lease of {self._lease.id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        began_as = self._lease.status
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                status = await self._lease.write(began_as, **self._progress())
            except LeaseLost as error:
                log.warning("%s", error)
                self._on_news()
                return
            except QueuechatError as error:  # Redis is away: what was asked goes on, what comes is kept
                log.warning("lease of batch %s: %s", self._lease.id, error)
                continue
            if status != began_as:
                self._on_news()
                return
