"""When a worker asks for jobs, and for how many: when it is woken, has got room, or has not asked for a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from queuechat import keys
from queuechat.bus import Claim, Claims
from queuechat.failpoints import failpoint
from workers.beside import MAX_READINGS
from workers.claiming import Claimer
from workers.engines.base import Engine, Paced
from workers.intake import Held
from workers.places import Places
from workers.running import Reading


class Puller:
    """Brings jobs to `take`, for which there is room in `places`; `held` are those that the worker has."""

    def __init__(
        self,
        claimer: Claimer,
        engine: Engine,
        places: Places,
        held: Mapping[str, Held],
        take: Callable[[Claim], Awaitable[None]],
    ):
        self._claimer, self._engine, self._places, self._held, self._take = claimer, engine, places, held, take
        self._wake = asyncio.Event()  # something to claim, or a slot is free
        self._seat = places.join(held, self._wake)
        self._readings_due = True  # something may only want to be read, which needs no slot
        self._granted: asyncio.Queue[Claim] = asyncio.Queue()  # to the claim that stands
        self._draining = False

    @property
    def readings(self) -> int:
        return sum(isinstance(held, Reading) for held in self._held.values())

    def woken(self, message: bytes = b"reads") -> None:
        self._readings_due |= message == b"reads"
        self._wake.set()

    def granted(self, message: bytes) -> None:
        """What the worker's channel says was granted to the claim that stands."""
        if grant := self._claimer.hear(message):
            self._granted.put_nowait(grant.claim)
            if not grant.left:
                self._wake.set()

    def drain(self) -> None:
        self._draining = True
        self._wake.set()

    async def ask(self) -> None:
        """Claim until drained."""
        while not self._draining:
            self._wake.clear()
            async with self._places.turn:
                claims = await self._claim()
                for claim in claims:
                    await self._take(claim)
            if claims.full:
                self._readings_due = True
                continue
            try:
                async with asyncio.timeout(keys.BEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                self._readings_due = True  # handed back by another worker, or its wake-up was lost
        for claim in await self._claimer.take(0, 0, 0):  # so that none stands any more
            await self._take(claim)
        await asyncio.Event().wait()

    async def receive(self) -> None:
        """Take what is granted unasked."""
        while True:
            claim = await self._granted.get()
            failpoint("claim.after")
            async with self._places.turn:
                await self._take(claim)

    async def _claim(self) -> Claims:
        room = self._places.room()
        paced = isinstance(self._engine, Paced)
        free = min(room.free, self._engine.room()) if isinstance(self._engine, Paced) else room.free
        due, self._readings_due = self._readings_due and not room.trying, False
        # A part of what is free at a time, so that workers that wake together share a burst.
        rooms = (-(-free // 4), min(room.bulk, free), room.fresh, MAX_READINGS - self.readings)
        standing = 0 if paced or self._places.shared else free
        claims = await self._claimer.take(*rooms, standing) if free > 0 or due else Claims()
        self._seat.held_back = room.trying or claims.held_back
        if claims:
            self._places.served(self._seat)
        return claims
