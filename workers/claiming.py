"""Asking for jobs: the same call until Redis answers it, so that what was granted in a lost reply is not lost."""

from __future__ import annotations

import asyncio
import logging
import secrets

from queuechat.bus import Bus, Claims
from queuechat.errors import BusUnavailable
from queuechat.failpoints import failpoint

log = logging.getLogger(__name__)

_PAUSE_S = 0.25


class Claimer:
    """One worker's hand in the queue of its model."""

    def __init__(self, bus: Bus, model: str, worker: str, life: str):
        self._bus, self._model, self._worker, self._life = bus, model, worker, life
        self._turn = 0

    async def take(self, room: int, bulk_room: int, fresh: int, reads_room: int = 0) -> Claims:
        """Up to `room` jobs, as `Bus.claim` has it; the rooms may be negative."""
        failpoint("claim.before")
        nonce, lost = f"{self._worker}/{self._life}.{secrets.token_hex(8)}", False
        while True:
            self._turn += 1
            try:
                claims = await self._bus.claim(
                    *(self._model, self._worker, nonce),
                    room=max(room, 0),
                    bulk_room=max(bulk_room, 0),
                    reads_room=max(reads_room, 0),
                    again=lost,
                    fresh=fresh,
                    turn=self._turn,
                )
            except BusUnavailable as error:
                if not lost:
                    log.warning("cannot claim, and go on trying: %s", error)
                lost = True
                await asyncio.sleep(_PAUSE_S)
            else:
                if claims:
                    failpoint("claim.after")
                return claims
