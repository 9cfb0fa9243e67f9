"""The places of one engine, shared by the consumers of all the names that it serves.

They take turns in claiming, so that together they take no more than the engine has room for, and no job that is tried
alone has a neighbour of another name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workers.intake import Held
from workers.running import Reading


@dataclass(slots=True, eq=False)
class Seat:
    """One consumer's: what it holds, how it is woken, and whether a suspect waits for what runs, or is being tried."""

    held: Mapping[str, Held]
    wake: asyncio.Event
    held_back: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """How many jobs may be claimed now, of the batch lane, how many run that have not proven themselves, and whether a
    suspect is among those."""

    free: int
    bulk: int
    fresh: int
    trying: bool


class Places:
    """`size` of them. Whoever claims does it within `turn`."""

    def __init__(self, size: int):
        self.turn = asyncio.Lock()
        self._size = size
        # The other half stays free for those who wait for an answer; where one place is all there is, they take turns.
        self._bulk = max(size // 2, 1)
        self._seats: list[Seat] = []  # who was served last comes last

    def join(self, held: Mapping[str, Held], wake: asyncio.Event) -> Seat:
        self._seats.append(Seat(held, wake))
        return self._seats[-1]

    @property
    def _held(self) -> Iterator[Held]:
        for seat in self._seats:
            yield from seat.held.values()

    @property
    def _taken(self) -> int:
        """How many of those held take a place: what only reads takes none."""
        return sum(not isinstance(held, Reading) for held in self._held)

    @property
    def shared(self) -> bool:
        """Whether a place that one consumer was promised could be taken by another."""
        return len(self._seats) > 1

    @property
    def held_back(self) -> bool:
        return any(seat.held_back for seat in self._seats)

    def room(self) -> Room:
        fresh = [held for held in self._held if not held.proven]
        trying = any(held.claim.suspect for held in fresh)
        taken = self._taken
        return Room(0 if trying else self._size - taken, self._bulk - taken, len(fresh), trying)

    def served(self, seat: Seat) -> None:
        """It has got something: the others come first when a place is free."""
        self._seats.remove(seat)
        self._seats.append(seat)

    def leaving(self) -> None:
        """Something that is held is about to be no more: where nobody was waited for, for want of room, now one is."""
        if self._taken in (self._bulk, self._size) or self.held_back:
            self.wake()

    def wake(self) -> None:
        for seat in self._seats:
            seat.wake.set()
