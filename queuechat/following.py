"""Requests that go on without their reader, followed to their end by the process that took them.

Until then each keeps its place among those of its key; at its end it is paid for as if somebody had read it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from queuechat import keys
from queuechat.bus import Bus
from queuechat.periodic import Periodic
from queuechat.protocol import End, decode_event

_ALIVE = (b"waiting", b"running")


@dataclass(frozen=True, slots=True, eq=False)
class Unread:
    """A request whose jobs go on. `tell` is told their ends (None for one that is gone), then `places` are left."""

    model: str
    ids: Sequence[str]
    tell: Callable[[Sequence[End | None]], None]
    places: contextlib.AsyncExitStack


class Following:
    """One per process; `async with` follows. What has not ended when the process does is settled by nobody: it has paid
    what it asked for."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self._followed: set[Unread] = set()
        self._beat = Periodic(self._look, "requests without a reader")

    async def __aenter__(self) -> Following:
        await self._beat.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._beat.__aexit__()
        while self._followed:
            await self._followed.pop().places.aclose()

    def add(self, unread: Unread) -> None:
        self._followed.add(unread)

    async def _look(self) -> None:
        for unread in list(self._followed):
            commands = [("HGET", keys.job(unread.model, id), "state") for id in unread.ids]
            if not any(state in _ALIVE for state in await self._bus.connection.insist(commands)):
                unread.tell(await self._ends(unread))
                self._followed.discard(unread)
                await unread.places.aclose()

    async def _ends(self, unread: Unread) -> list[End | None]:
        """The last word of each job."""
        commands = [("XREVRANGE", keys.log(unread.model, id), "+", "-", "COUNT", 1) for id in unread.ids]
        logs = await self._bus.connection.insist(commands)
        return [_end(*rows[0]) if rows else None for rows in logs]


def _end(_: bytes, fields: list[bytes] | dict[bytes, bytes]) -> End | None:
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    event = decode_event(row[b"e"]) if b"e" in row else None
    return event if isinstance(event, End) else None
