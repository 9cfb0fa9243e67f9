"""Log lines that wait in Redis to be written to files: an entry goes only when it is in a file."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import LeaseLost


@dataclass(frozen=True, slots=True)
class Entry:
    """A line (JSON) and its id in the stream, "<ms>-<number>". `images`: it speaks of some."""

    id: str
    line: bytes
    images: bool

    @property
    def file_name(self) -> str:
        """As FastChat names its logs, by the day (UTC) on which the line came; conversations with images have files of
        their own, since FastChat's tools for text read messages that are strings."""
        day = datetime.fromtimestamp(int(self.id.partition("-")[0]) / 1000, UTC).strftime("%Y-%m-%d")
        return f"{'vision-tmp-' if self.images else ''}{day}-conv.json"


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many lines wait, and for how many seconds the oldest has."""

    lines: int
    oldest_s: float


async def look_at_backlog(bus: Bus) -> Backlog:
    lines, oldest = await bus.connection.insist([("XLEN", keys.LINES), ("XRANGE", keys.LINES, "-", "+", "COUNT", 1)])
    began_s = int(oldest[0][0].partition(b"-")[0]) / 1000 if oldest else time.time()
    return Backlog(lines, max(time.time() - began_s, 0.0))


class Writer:
    """The right to write the log files, for `keys.LEASE_MS` since it was taken or kept."""

    def __init__(self, bus: Bus, token: str):
        self._bus, self._token = bus, token

    @classmethod
    async def take(cls, bus: Bus) -> Self | None:
        """None when another process has it."""
        writer = cls(bus, secrets.token_hex(8))
        return writer if await writer._lease() else None

    async def keep(self) -> None:
        """Raises LeaseLost when another process has taken over."""
        if not await self._lease():
            raise LeaseLost("another background process writes the log files now")

    async def leave(self) -> None:
        """Give it back, so that the next one need not wait for its end."""
        await self._bus.connection.call("qc1_lines_leave", keys.WRITER, self._token)

    async def _lease(self) -> bool:
        word = await self._bus.connection.call("qc1_lines_lease", keys.WRITER, self._token, keys.LEASE_MS)
        return bool(word == b"OK")


async def read_lines(bus: Bus, count: int) -> list[Entry]:
    """The oldest that wait, in order."""
    rows = (await bus.connection.insist([("XRANGE", keys.LINES, "-", "+", "COUNT", count)]))[0]
    return [_entry(id.decode(), fields) for id, fields in rows]


async def forget_lines(bus: Bus, entries: Sequence[Entry]) -> None:
    """They are in a file."""
    await bus.connection.insist([("XDEL", keys.LINES, *(entry.id for entry in entries))])


def _entry(id: str, fields: list[bytes] | dict[bytes, bytes]) -> Entry:
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    return Entry(id, row[b"line"], row[b"images"] == b"1")
