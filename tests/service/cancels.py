"""How soon a slot is free after its reader has gone."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from queuechat import keys
from tests.service.caller import call
from tests.service.site import MODEL, quantile, site


async def cancels(folder: Path, seed: int, count: int) -> tuple[dict[str, Any], list[str]]:
    """Readers hang up in the middle of long streams: ms until Redis has the end of each job, its slot being free."""
    rng = random.Random(seed)
    gone: dict[str, float] = {}
    async with site(folder) as here:
        await here.worker(30, 64)
        port = await here.api()
        todo = iter(range(count))

        async def reader() -> None:
            for number in todo:
                body = {"model": MODEL, "prompt": f"{number}", "max_tokens": 5000, "stream": True}
                got = await call(port, body, pieces=rng.randint(2, 40))
                gone[got.id] = got.times[-1]

        await asyncio.gather(*(reader() for _ in range(32)))
        while (await here.bus.depth(MODEL)).running:
            await asyncio.sleep(0.05)
        rows = [("HMGET", keys.job(MODEL, id), "state", "ended") for id in gone]
        ends = dict(zip(gone, await here.bus.connection.insist(rows), strict=True))
    faults = [f"{id} ended as {state.decode()}" for id, (state, _) in ends.items() if state != b"cancelled"]
    took = [int(ended) - gone[id] * 1000 for id, (_, ended) in ends.items()]
    figures = {
        "cancelled": len(took),
        "p50_ms": quantile(took, 0.5),
        "p99_ms": quantile(took, 0.99),
        "max_ms": max(took),
    }
    return {k: round(v, 1) for k, v in figures.items()}, faults
