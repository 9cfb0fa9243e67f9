"""The leaderboard that pages show: one document in Redis, so that they need no files of the host that computed it."""

from __future__ import annotations

from queuechat import keys
from queuechat.bus import Bus
from queuechat.leaderboard.results import Leaderboard


async def publish(bus: Bus, made: Leaderboard) -> None:
    """From now on, pages show this one."""
    await bus.connection.insist([("SET", keys.LEADERBOARD, made.encode())])


async def published(bus: Bus) -> bytes | None:
    """The document, as `results.decode` reads it; None when none was published yet."""
    (raw,) = await bus.connection.insist([("GET", keys.LEADERBOARD)])
    return raw if raw is None else bytes(raw)


async def turn_to_rate(bus: Bus, every_s: float) -> bool:
    """Whether it is time to compute: True for one process in each `every_s` seconds."""
    (word,) = await bus.connection.insist([("SET", keys.RATED, "1", "NX", "PX", int(every_s * 1000))])
    return bool(word)
