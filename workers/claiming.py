"""Asking for jobs: the same call until Redis answers it, so that what was granted in a lost reply is not lost.

A claim may be left standing. What comes is then granted to it by the call that brings it, and told on a channel of its
own, which saves the way there and back. The next claim takes the place of the one that stands, and says how many grants
were heard of: when there were more, their jobs come with its answer.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

from queuechat.bus import Bus, Claim, Claims, Grant, Stand
from queuechat.errors import BusUnavailable
from queuechat.failpoints import failpoint

log = logging.getLogger(__name__)

_PAUSE_S = 0.25


@dataclass(slots=True)
class _Asked:
    """A claim that was made: how many grants were heard of since it stands, and all that it is known to have got."""

    nonce: str
    heard: int = 0
    known: set[tuple[str, int]] = field(default_factory=set)  # job id, epoch

    def learn(self, claim: Claim) -> bool:
        """Whether this is news."""
        name = (claim.job.id, claim.epoch)
        news = name not in self.known
        self.known.add(name)
        return news


class Claimer:
    """One worker's hand in the queue of its model."""

    def __init__(self, bus: Bus, model: str, worker: str, life: str):
        self._bus, self._model, self._worker, self._life = bus, model, worker, life
        self._turn = 0
        self._asked: dict[str, _Asked] = {}  # by nonce: the claim that stands, and the one that is under way

    async def take(self, room: int, bulk_room: int, fresh: int, reads_room: int = 0, free: int = 0) -> Claims:
        """Up to `room` jobs, as `Bus.claim` has it; the rooms may be negative. With `free` places the claim is left
        standing when it leaves some of its room."""
        failpoint("claim.before")
        before = next(iter(self._asked.values()), _Asked(""))
        # Not brought up to date with each try: `room` was told when so many were heard of.
        stand = Stand(max(free, 0), before.nonce, before.heard)
        asked = _Asked(f"{self._worker}/{self._life}.{secrets.token_hex(8)}")
        # A grant may be heard of before the answer that says that the claim stands.
        self._asked[asked.nonce] = asked
        lost = False
        while True:
            self._turn += 1
            try:
                claims = await self._bus.claim(
                    *(self._model, self._worker, asked.nonce),
                    room=max(room, 0),
                    bulk_room=max(bulk_room, 0),
                    reads_room=max(reads_room, 0),
                    again=lost,
                    fresh=fresh,
                    turn=self._turn,
                    stand=stand,
                )
            except BusUnavailable as error:
                if not lost:
                    log.warning("cannot claim, and go on trying: %s", error)
                lost = True
                await asyncio.sleep(_PAUSE_S)
            else:
                self._asked = {asked.nonce: asked} if claims.stands else {}
                claims[:] = [one for one in claims if (asked if one.nonce == asked.nonce else before).learn(one)]
                if claims:
                    failpoint("claim.after")
                return claims

    async def give_back(self, ids: Collection[str]) -> None:
        """Jobs that are owned here and were lost on their way; not while a claim is under way, which may bring them."""
        if await self._bus.release(self._model, f"{self._worker}/{self._life}", list(ids), crashed=False):
            log.warning("granted to this worker and not here, so handed back: %s", ", ".join(sorted(ids)))

    def hear(self, message: bytes) -> Grant | None:
        """A grant that the worker's channel has brought; None when it is no news, or for a claim that stands no more:
        the answer to the claim that took its place has it."""
        try:
            grant = Grant.decode(message)
        except ValueError:
            return None  # not heard, so the next claim brings it, and says what is wrong with it
        asked = self._asked.get(grant.claim.nonce)
        if asked is None:
            return None
        asked.heard += 1
        return grant if asked.learn(grant.claim) else None
