"""Votes while who keeps them is killed: each is counted once, and in the files once."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tests.background.scene import Scene, a_scene

_AT_A_TIME = 20


async def votes(folder: Path, seed: int, size: int, rounds: int) -> tuple[dict[str, Any], list[str]]:
    """At least `size` battles, by 20 voters at a time; background process and Redis are killed `rounds` times each with
    SIGKILL meanwhile. Figures, and what was wrong."""
    chance = random.Random(seed)
    async with a_scene(folder) as scene:
        killer = asyncio.create_task(_kill(scene, chance, rounds))
        share = [asyncio.create_task(_vote(scene, chance, killer, size // _AT_A_TIME)) for _ in range(_AT_A_TIME)]
        await asyncio.gather(*share)
        killed = await killer
        await scene.all_written()
        written, counted = scene.written(), Counter(scene.counted)
    faults = [f"{vote} is {n} times too often in the files" for vote, n in (written - counted).items()]
    faults += [f"{vote} was counted and is not in the files" for vote in counted - written]
    battles = Counter(id for id, _ in scene.counted)
    faults += [f"battle {id} has {n} votes" for id, n in battles.items() if n != 1]
    return {"votes": len(scene.counted), "written": written.total(), "killed": killed}, faults


async def _vote(scene: Scene, chance: random.Random, killer: asyncio.Task[Any], battles: int) -> None:
    """So many battles, one after the other, and more for as long as there is something to kill."""
    done = 0
    while done < battles or not killer.done():
        await scene.vote(f"voter {done}")
        await asyncio.sleep(chance.random() * 0.2)
        done += 1


async def _kill(scene: Scene, chance: random.Random, rounds: int) -> dict[str, int]:
    command = await scene.background()
    for _ in range(rounds):
        await asyncio.sleep(chance.random() * 3)
        await scene.restart_redis()
        await asyncio.sleep(chance.random() * 3)
        command.send(signal.SIGKILL)
        await command.process.wait()
        command = await scene.background()
    return {"redis": rounds, "background": rounds}
