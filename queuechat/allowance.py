"""How many requests of one API key are answered at a time, over all servers.

Each holds a place by a lease in Redis that its server renews: a server that dies gives its places back by doing
nothing, so there is no counter that could go wrong.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import QueuechatError, TooManyRequests
from queuechat.periodic import Periodic


class Allowance:
    """One per process; `async with Allowance(bus)` keeps the leases."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self._held: defaultdict[str, set[str]] = defaultdict(set)
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
        if await self._bus.connection.call("qc1_hold", keys.running(key), limit, keys.HOLD_MS, id) == b"OVER":
            raise TooManyRequests(
                f"this API key has {limit} requests running, which is all it may have at a time", retry_after=1
            )
        self._held[key].add(id)
        try:
            yield
        finally:
            self._held[key].discard(id)
            if not self._held[key]:
                del self._held[key]
            if not goes_on():
                with contextlib.suppress(QueuechatError):
                    await self._bus.connection.insist([("ZREM", keys.running(key), id)])

    async def _keep(self) -> None:
        for key, ids in list(self._held.items()):
            await self._bus.connection.call("qc1_keep", keys.running(key), keys.HOLD_MS, *ids)
