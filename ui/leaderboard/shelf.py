"""The published leaderboard, read at most every few seconds however many pages look at it."""

from __future__ import annotations

import asyncio
import logging
import time

from queuechat.bus import Bus
from queuechat.errors import QueuechatError
from queuechat.leaderboard.results import Leaderboard, decode
from queuechat.standings import published

log = logging.getLogger(__name__)

_EVERY_S = 5.0


class Shelf:
    """`await look()` for the newest one; None until there is one. While Redis is away it stays as it was."""

    def __init__(self, bus: Bus, every_s: float = _EVERY_S):
        self._bus, self._every_s = bus, every_s
        self._raw: bytes | None = None
        self._made: Leaderboard | None = None
        self._next = 0.0
        self._reading = asyncio.Lock()

    async def look(self) -> Leaderboard | None:
        # Who comes while it is read is shown the one before: a slow Redis must not hold up pages.
        if time.monotonic() >= self._next and not self._reading.locked():
            async with self._reading:
                await self._read()
                self._next = time.monotonic() + self._every_s
        return self._made

    async def _read(self) -> None:
        try:
            raw = await published(self._bus)
            if raw != self._raw:
                self._raw, self._made = raw, None if raw is None else decode(raw)
        except QueuechatError as error:
            log.warning("cannot read the leaderboard: %s", error)
