"""What a batch costs those who wait for an answer: time to the first token with and without one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.background.plant import Plant, a_plant, request
from tests.service.caller import call
from tests.service.site import MODEL, quantile

_CALLERS = 4
_TOKENS = 10
_RATE, _RUNNING = 100, 32


async def latency(folder: Path, seed: int, calls: int, _: int) -> tuple[dict[str, Any], list[str]]:
    """`calls` streams, a few at a time, first on an idle plant, then while a batch has all that it may have."""
    async with a_plant(folder) as plant:
        await plant.here.worker(_RATE, _RUNNING)
        await plant.background()
        await _measure(plant, calls // 10)  # for warming up
        alone = await _measure(plant, calls)
        batch = await plant.begin([request(k, tokens=1000) for k in range(2000)])
        await plant.when(batch, lambda seen: bool(seen.request_counts and seen.request_counts.completed))
        beside = await _measure(plant, calls)
        seen = await plant.sdk.batches.retrieve(batch.id)
        await plant.sdk.batches.cancel(batch.id)
        await plant.ended(batch)
    faults = [] if seen.status == "in_progress" else [f"the batch was {seen.status} before the end of the measurement"]
    return {"alone": _figures(alone), "beside a batch": _figures(beside)}, faults


async def _measure(plant: Plant, calls: int) -> list[float]:
    """Seconds to the first token of each call."""
    body = {"model": MODEL, "prompt": "go", "max_tokens": _TOKENS, "stream": True}
    waits: list[float] = []

    async def caller() -> None:
        while len(waits) < calls:
            began = time.time()
            answer = await call(plant.port, body)
            assert answer.whole
            waits.append(answer.times[0] - began)

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return waits


def _figures(waits: list[float]) -> dict[str, float]:
    return {f"p{share * 100:.0f} ms": round(quantile(waits, share) * 1000, 1) for share in (0.5, 0.9, 0.99)}
