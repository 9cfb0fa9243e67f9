"""Two streams of frames as one, at a tempo that a page can follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from ui.duel.duel import Frames
from ui.talk.following import TEMPO_S
from ui.talk.reply import Frame

_SHARE = 4  # for how many times as long as a frame took to be shown, no other is


async def together(
    sides: Mapping[int, AsyncGenerator[Frame, None]], tempo_s: float = TEMPO_S
) -> AsyncGenerator[Frames, None]:
    """The newest frame of each side, whenever one has changed, not more often than `tempo_s`.

    It ends when all sides have ended; a slow or failed side holds up no other. Leaving early leaves all of them.
    """
    loop = asyncio.get_running_loop()
    newest: Frames = {}
    changed = asyncio.Event()
    pumps = [asyncio.create_task(_pump(side, frames, newest, changed)) for side, frames in sides.items()]
    try:
        while not all(pump.done() for pump in pumps) or changed.is_set():
            await changed.wait()
            changed.clear()
            if len(newest) == len(sides):
                shown_at = loop.time()
                yield dict(newest)
                # A server with more pages than it can serve at this tempo shows fewer frames, and keeps time for Redis.
                await asyncio.sleep(max(tempo_s, _SHARE * (loop.time() - shown_at)))
        await asyncio.gather(*pumps)  # raises what went wrong
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(side: int, frames: AsyncGenerator[Frame, None], newest: Frames, changed: asyncio.Event) -> None:
    try:
        async with aclosing(frames):
            async for frame in frames:
                newest[side] = frame
                changed.set()
    finally:
        changed.set()
