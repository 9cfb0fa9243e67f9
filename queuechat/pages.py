"""Lists in pages: what a directory in Redis names, a cursor at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from queuechat.bus import Bus
from queuechat.errors import InvalidRequest

T = TypeVar("T")

_STRIDE = 500


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list; `has_more` of it follow."""

    items: list[T]
    has_more: bool

    def shown(self, show: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
        """OpenAI's list object."""
        rows = [show(item) for item in self.items]
        ends = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
        return {"object": "list", "data": rows, "first_id": ends[0], "last_id": ends[1], "has_more": self.has_more}


async def read_page(
    bus: Bus,
    index: str,
    read: Callable[[Sequence[str]], Awaitable[Sequence[T | None]]],
    *,
    after: str | None,
    limit: int,
    newest_first: bool = True,
    wanted: Callable[[T], bool] = lambda _: True,
) -> Page[T]:
    """Up to `limit` wanted items that follow `after` in a zset of ids; ids whose item is gone leave the zset.

    Raises:
        InvalidRequest: `after` is not in the list.
    """
    start, found = await _place(bus, index, after, newest_first), []
    while True:
        command = ("ZRANGE", index, start, start + _STRIDE - 1, *(("REV",) if newest_first else ()))
        ids = [raw.decode() for raw in (await bus.connection.insist([command]))[0]]
        items = await read(ids) if ids else []
        gone = [id for id, item in zip(ids, items, strict=True) if item is None]
        found += [item for item in items if item is not None and wanted(item)]
        if gone:
            await bus.connection.insist([("ZREM", index, *gone)])
        if len(found) > limit or len(ids) < _STRIDE:
            break
        start += _STRIDE - len(gone)
    return Page(found[:limit], len(found) > limit)


async def _place(bus: Bus, index: str, after: str | None, newest_first: bool) -> int:
    if not after:
        return 0
    rank = (await bus.connection.insist([("ZREVRANK" if newest_first else "ZRANK", index, after)]))[0]
    if rank is None:
        raise InvalidRequest(f"`after` is {after[:80]!r}, which is not in this list", param="after")
    return int(rank) + 1
