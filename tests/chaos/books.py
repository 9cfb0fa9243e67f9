"""What Redis must look like when everybody has gone home: one bill per job, and nothing left that lives for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from queuechat import keys
from queuechat.bus import Bus

DRAINED_S = 60.0  # what nobody reads any more is cancelled by then


async def audit(bus: Bus, model: str, billed: Mapping[str, int]) -> list[str]:
    """Everything that is wrong; `billed` holds the tokens that were delivered, by job."""
    faults = await _left(bus, model)
    bills = await _bills(bus, model)
    faults += [f"job {job} was billed {len(rows)} times" for job, rows in bills.items() if len(rows) > 1]
    faults += [f"job {job} was delivered and never billed" for job in billed.keys() - bills.keys()]
    for job, rows in bills.items():
        reason, tokens = rows[0]
        if job not in billed and reason != "cancelled":
            faults.append(f"job {job} of nobody ended with {reason!r}")
        elif job in billed and (reason, tokens) != ("length", billed[job]):
            faults.append(f"job {job} brought {billed[job]} tokens; billed were {tokens}, reason {reason!r}")
    return faults


async def _left(bus: Bus, model: str) -> list[str]:
    """What is still there a while after the last request; keys that never expire."""
    faults: list[str] = []
    try:
        async with asyncio.timeout(DRAINED_S):
            while left := await _undone(bus, model):
                faults = left
                await asyncio.sleep(0.2)
    except TimeoutError:
        return faults
    return await _eternal(bus, model)


async def _undone(bus: Bus, model: str) -> list[str]:
    jobs, bulk, late = await bus.connection.insist(
        [("XLEN", keys.jobs(model)), ("XLEN", keys.bulk(model)), ("ZCARD", keys.deadlines(model))]
    )
    pending = [(await bus.connection.command("XPENDING", k, keys.GROUP)) for k in (keys.jobs(model), keys.bulk(model))]
    counts = {"jobs": jobs, "bulk": bulk, "deadlines": late, "pending": sum(_count(summary) for summary in pending)}
    return [f"{count} left in {name}" for name, count in counts.items() if count]


def _count(summary: Any) -> int:
    return int(summary["pending"] if isinstance(summary, dict) else summary[0])


async def _eternal(bus: Bus, model: str) -> list[str]:
    names = await _names(bus, keys.job(model, "*")) | await _names(bus, keys.log(model, "*"))
    faults = []
    for at in range(0, len(names), 500):
        part = sorted(names)[at : at + 500]
        lives = await bus.connection.insist([("PTTL", name) for name in part])
        faults += [f"{name.decode()} never expires" for name, ms in zip(part, lives, strict=True) if ms == -1]
    return faults


async def _names(bus: Bus, pattern: str) -> set[bytes]:
    cursor, names = b"0", set()
    while True:
        cursor, found = await bus.connection.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        names.update(found)
        if int(cursor) == 0:
            return names


async def _bills(bus: Bus, model: str) -> dict[str, list[tuple[str, int]]]:
    """Reason and tokens of each entry of the usage stream, by job."""
    bills: dict[str, list[tuple[str, int]]] = {}
    low = "-"
    while True:
        rows = (await bus.connection.insist([("XRANGE", keys.usage(model), low, "+", "COUNT", 5000)]))[0]
        for _, fields in rows:
            row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
            bills.setdefault(row[b"id"].decode(), []).append((row[b"reason"].decode(), int(row[b"tokens"])))
        if len(rows) < 5000:
            return bills
        low = f"({rows[-1][0].decode()}"
