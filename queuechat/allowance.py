"""How many requests of one API key are answered at a time, over all servers.

Each holds a place by a lease in Redis that its server renews: a server that dies gives its places back by doing
nothing, so there is no counter that could go wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import QueuechatError, TooManyRequests
from queuechat.periodic import Periodic


class Allowance:
    """One per process; `async with Allowance(bus)` keeps the leases."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self._held: Counter[tuple[str, str]] = Counter()  # how many hold the same place here
        self._ours: set[tuple[str, str]] = set()  # places that were taken here first
        self._beat = Periodic(self._keep, "places of API keys")

    async def __aenter__(self) -> Allowance:
        await self._beat.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._beat.__aexit__()

    @contextlib.asynccontextmanager
    async def place(
        self, key: str, limit: int, id: str, goes_on: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[None]:
        """A place for request `id` among the `limit` (0: any number) that `key` may have; one that it has already is
        the same place. If at the end it `goes_on`, its place is given back only when the lease has run out.

        Raises:
            TooManyRequests: they are all taken.
            BusUnavailable: Redis does not answer.
        """
        if not key or not limit:
            yield
            return
        answer = await self._bus.connection.call("qc1_hold", keys.running(key), limit, keys.HOLD_MS, id)
        if answer == b"OVER":
            raise TooManyRequests(
                f"this API key has {limit} requests running, which is all it may have at a time", retry_after=1
            )
        self._held[key, id] += 1
        if answer == b"OK":
            self._ours.add((key, id))
        try:
            yield
        finally:
            self._held[key, id] -= 1
            if not self._held[key, id]:
                del self._held[key, id]
                await self._give_back(key, id, goes_on=goes_on())

    async def _give_back(self, key: str, id: str, *, goes_on: bool) -> None:
        """Only who took it first does: another server may hold the same place."""
        ours = (key, id) in self._ours
        self._ours.discard((key, id))
        if ours and not goes_on:
            with contextlib.suppress(QueuechatError):
                await self._bus.connection.insist([("ZREM", keys.running(key), id)])

    async def _keep(self) -> None:
        by_key = defaultdict(list)
        for key, id in self._held:
            by_key[key].append(id)
        keeping = (
            self._bus.connection.call("qc1_keep", keys.running(key), keys.HOLD_MS, *ids) for key, ids in by_key.items()
        )
        for outcome in await asyncio.gather(*keeping, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
