"""What is to be said to Redis, and when: at once where somebody reads along, in heaps where nobody does."""

from __future__ import annotations

import asyncio
import time

from workers.intake import Held

HEAP_S = 0.25


class Outbox:
    """Held jobs with something to publish. `take` gives those that are due; the heaped ones among them all together,
    so that a batch costs those who wait for an answer a few calls a second."""

    def __init__(self) -> None:
        self._held: dict[Held, None] = {}
        self._fresh = asyncio.Event()
        self._heaps_at = 0.0

    def mark(self, held: Held) -> None:
        self._held[held] = None
        self._fresh.set()

    def wake(self) -> None:
        """Nothing new to publish, but something to look at."""
        self._fresh.set()

    async def take(self) -> list[Held]:
        """Waits for `mark` or `wake`. What is not due stays: a sequence that runs is marked again by its next step."""
        await self._fresh.wait()
        self._fresh.clear()
        now = time.monotonic()
        heaps_due = now >= self._heaps_at
        due = [held for held in self._held if heaps_due or held.urgent]
        if heaps_due:
            self._heaps_at = now + HEAP_S
        for held in due:
            del self._held[held]
        return due
