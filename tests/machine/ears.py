"""What Redis says to workers on their channels, in the order in which it was said."""

from __future__ import annotations

import asyncio
from functools import partial

from queuechat import keys
from queuechat.bus import Bus, Subscription
from queuechat.bus.listener import OnMessage
from tests.machine.checks import MODEL

WORKERS = ("w0", "w1", "w2")
_FENCE = "machine:fence"
_WAIT_S = 30  # what does not come by then never comes


class Ears:
    """One listener for all workers and for who waits to be woken; a worker that is gone has none."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self._by_worker: dict[str, Subscription] = {}
        self._heard: list[tuple[str, bytes]] = []
        self._fences, self._fence_came = 0, asyncio.Event()
        self._channels, self._in_force = set[str](), set[str]()
        self._all_in_force = asyncio.Event()

    async def open(self) -> Ears:
        await self._subscribe(_FENCE, self._fenced)
        await self._subscribe(keys.wake(MODEL), partial(self._hear, "wake"))
        await self.begin()
        return self

    async def begin(self) -> None:
        """Everybody listens, and nothing was said."""
        for worker in WORKERS:
            await self.listen(worker)
        await self.heard()

    async def listen(self, worker: str) -> None:
        if worker not in self._by_worker:
            channel = keys.grants(worker)
            self._by_worker[worker] = await self._subscribe(channel, partial(self._hear, worker))

    async def go(self, worker: str) -> None:
        """Nobody listens for this worker any more, and Redis knows."""
        if gone := self._by_worker.pop(worker, None):
            self._channels.discard(keys.grants(worker))
            await self._bus.listener.unsubscribe(gone)
            marker = await self._bus.listener.subscribe(f"{_FENCE}:{worker}", lambda message: None)
            await self._bus.listener.unsubscribe(marker)  # what was sent before its confirmation was done before it

    async def heard(self) -> list[tuple[str, bytes]]:
        """All that was said since this was last asked: one connection brings it, and a fence brings up the rear."""
        self._fences += 1
        self._fence_came.clear()
        await self._bus.connection.command("PUBLISH", _FENCE, self._fences)
        async with asyncio.timeout(_WAIT_S):
            await self._fence_came.wait()
        heard, self._heard = self._heard, []
        return heard

    def cut(self) -> None:
        """Redis is gone, and with it all subscriptions."""
        self._in_force.clear()
        self._all_in_force.clear()

    async def again(self) -> None:
        """Wait until all are in force again."""
        async with asyncio.timeout(_WAIT_S):
            await self._all_in_force.wait()

    async def _subscribe(self, channel: str, on_message: OnMessage) -> Subscription:
        self._channels.add(channel)
        return await self._bus.listener.subscribe(channel, on_message, partial(self._synced, channel))

    def _synced(self, channel: str) -> None:
        self._in_force.add(channel)
        if self._in_force >= self._channels:
            self._all_in_force.set()

    def _hear(self, whom: str, message: bytes) -> None:
        self._heard.append((whom, message))

    def _fenced(self, message: bytes) -> None:
        if int(message) == self._fences:
            self._fence_came.set()
