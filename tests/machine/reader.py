"""A reader whose pub/sub connection loses messages: what it ends with must be the log all the same."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from random import Random

from queuechat.answer import Answer, Event, Waiting
from queuechat.bus import Bus, Listener, Sight, Subscription


class _Lossy(Listener):
    """A listener that hands on about half of what it hears."""

    def __init__(self, real: Listener, chance: Random):
        self._real, self._chance = real, chance

    async def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_sync: Callable[[], None] = lambda: None
    ) -> Subscription:
        def perhaps(raw: bytes) -> None:
            if self._chance.random() < 0.5:
                on_message(raw)

        return await self._real.subscribe(channel, perhaps, on_sync)

    async def unsubscribe(self, subscription: Subscription) -> None:
        await self._real.unsubscribe(subscription)


class Reader:
    """Reads one job in the background, with the reader of the front ends, for as long as the event loop runs."""

    def __init__(self, bus: Bus, model: str, id: str, seed: int):
        lossy = copy.copy(bus)
        lossy.listener = _Lossy(bus.listener, Random(seed))
        self.id = id
        self.events: list[Event] = []
        self._answer = Answer(lossy, model, [id])
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> Reader:
        await self._answer.subscribe()
        self._task = asyncio.create_task(self._read())
        return self

    def sight(self, seen: Sight) -> None:
        """What the watchdog of the front end tells it each second."""
        self._answer.sight(0, seen, 0)

    async def ended(self) -> list[Event]:
        """All that it read, once it has read the end."""
        assert self._task
        async with asyncio.timeout(30):  # a reader that hangs is a failure too
            await self._task
        await self._answer.close()
        return self.events

    async def close(self) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._answer.close(cancel=False)

    async def _read(self) -> None:
        while events := await self._answer.take():
            self.events += [event for _, event in events if not isinstance(event, Waiting)]
