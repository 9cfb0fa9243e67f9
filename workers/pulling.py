"""When a worker asks for jobs, and for how many: when it is woken, has got room, or has not asked for a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping

from queuechat import keys
from queuechat.bus import Claim, Claims
from queuechat.failpoints import failpoint
from workers.backstop import Backstop
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
        on_drained: Callable[[], None],
    ):
        self._claimer, self._engine, self._places, self._held, self._take = claimer, engine, places, held, take
        self._on_drained = on_drained
        self._wake = asyncio.Event()  # something to claim, or a slot is free
        self._seat = places.join(held, self._wake)
        self._readings_due = True  # something may only want to be read, which needs no slot
        self._granted: deque[Claim] = deque()  # to the claim that stands, and not taken yet
        self._grants = asyncio.Event()
        self._taking = asyncio.Lock()  # what was granted is in `_granted` or in `held`, for who has this
        self._backstop = Backstop()
        self._draining = self.drained = False

    @property
    def readings(self) -> int:
        return sum(isinstance(held, Reading) for held in self._held.values())

    def woken(self, message: bytes = b"reads") -> None:
        self._readings_due |= message == b"reads"
        self._wake.set()

    def granted(self, message: bytes) -> None:
        """What the channel of grants says was granted to the claim that stands."""
        if grant := self._claimer.hear(message):
            self._granted.append(grant.claim)
            self._grants.set()
            if not grant.left:
                self._wake.set()

    def renewed(self, owned: Collection[str]) -> None:
        """These jobs are owned here, says Redis. What is not held may be lost: a claim, room or none, tells."""
        self._backstop.renewed(owned)
        if not self._held.keys() >= set(owned):
            self._readings_due = True
            self._wake.set()

    def drain(self) -> None:
        """Ask for nothing more; `drained` is true when nothing more can come."""
        self._draining = True
        self._wake.set()
        # By then no claim stands, whether or not Redis has answered.
        asyncio.get_running_loop().call_later(keys.STANDING_MS / 1000, self._drained)

    def _drained(self) -> None:
        self.drained = True
        self._on_drained()

    async def ask(self) -> None:
        """Claim until drained."""
        while not self._draining:
            self._wake.clear()
            async with self._places.turn:
                await self._take_granted()  # so that they are counted among those that take a place
                claims = await self._claim()
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
        await self._take_granted()
        self._drained()
        await asyncio.Event().wait()

    async def receive(self) -> None:
        """Take what is granted unasked, also while Redis does not answer a claim."""
        while True:
            await self._grants.wait()
            await self._take_granted()

    async def _take_granted(self) -> None:
        async with self._taking:
            self._grants.clear()
            while self._granted:
                failpoint("claim.after")
                await self._take(self._granted.popleft())

    async def _claim(self) -> Claims:
        room = self._places.room()
        free, standing = room.free, 0 if self._places.shared else room.free
        if isinstance(self._engine, Paced):
            free, standing = min(free, self._engine.room()), 0
        due, self._readings_due = self._readings_due and not room.trying, False
        # A part of what is free at a time, so that workers that wake together share a burst.
        rooms = (-(-free // 4), min(room.bulk, free), room.fresh, MAX_READINGS - self.readings)
        asking = free > 0 or due
        claims = await self._claimer.take(*rooms, standing) if asking else Claims()
        self._seat.held_back = room.trying or claims.held_back
        if claims:
            self._places.served(self._seat)
        for claim in claims:
            await self._take(claim)
        if asking:
            await self._give_back_lost()
        return claims

    async def _give_back_lost(self) -> None:
        async with self._taking:
            granted = [claim.job.id for claim in self._granted]
            lost = self._backstop.lost({*self._held, *granted})
        if lost:
            await self._claimer.give_back(lost)
