"""A batch while its processes are killed: who does it, and what must be true in the end."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from openai.types import Batch

from tests.background.plant import Plant, a_plant, request

RATE, RUNNING, WINDOW = 100, 64, 64


async def kills(folder: Path, seed: int, lines: int, rounds: int) -> tuple[dict[str, Any], list[str]]:
    """A batch of `lines`; `rounds` times batch worker, API and model worker are killed with SIGKILL, and Redis as well
    from the second round on. Figures, and what was wrong."""
    chance = random.Random(seed)
    tokens = [chance.randint(5, 40) for _ in range(lines)]
    async with a_plant(folder) as plant:
        killer = _Killer(plant)
        await killer.start()
        batch = await plant.begin([request(k, tokens=n) for k, n in enumerate(tokens)])
        for number in range(rounds):
            victims = ["background", "api", "worker"] + ["redis"] * (number > 0)
            chance.shuffle(victims)
            for at, victim in enumerate(victims):
                share = (number + (at + chance.random()) / len(victims)) / rounds * 0.9
                await plant.when(batch, _past(share * lines))
                await killer.kill(victim)
        ended = await plant.ended(batch)
        return await _judge(plant, ended, tokens, killer.killed)


def _past(count: float) -> Any:
    return lambda seen: (
        seen.request_counts.completed >= count or (seen.status != "in_progress" and seen.request_counts.total)
    )


class _Killer:
    def __init__(self, plant: Plant):
        self._plant = plant
        self.killed: Counter[str] = Counter()

    async def start(self) -> None:
        self._worker = await self._plant.here.worker(RATE, RUNNING)
        self._background = await self._plant.background(QUEUECHAT_BATCH_WINDOW=str(WINDOW))

    async def kill(self, victim: str) -> None:
        """SIGKILL, and another one in its place."""
        await getattr(self, f"_{victim}_dies")()
        self.killed[victim] += 1

    async def _background_dies(self) -> None:
        await self._end(self._background)
        self._background = await self._plant.background(QUEUECHAT_BATCH_WINDOW=str(WINDOW))

    async def _worker_dies(self) -> None:
        await self._end(self._worker)
        self._worker = await self._plant.here.worker(RATE, RUNNING)

    async def _api_dies(self) -> None:
        await self._end(self._plant.here.apis.pop(self._plant.port))
        await self._plant.open_api()

    async def _redis_dies(self) -> None:
        await self._plant.restart_redis()

    async def _end(self, command: Any) -> None:
        command.send(signal.SIGKILL)
        await command.process.wait()


async def _judge(
    plant: Plant, ended: Batch, tokens: list[int], killed: Counter[str]
) -> tuple[dict[str, Any], list[str]]:
    answers, errors = await plant.records(ended.output_file_id), await plant.records(ended.error_file_id)
    names = Counter(record["custom_id"] for record in (*answers, *errors))
    faults = [] if ended.status == "completed" else [f"the batch is {ended.status}"]
    faults += [f"line-{k} is there {names[f'line-{k}']} times" for k in range(len(tokens)) if names[f"line-{k}"] != 1]
    faults += [f"{record['custom_id']} failed: {record}" for record in errors]
    for record in answers:
        want, usage = tokens[int(record["custom_id"][5:])], record["response"]["body"]["usage"]
        if usage["completion_tokens"] != want:
            faults.append(f"{record['custom_id']} has {usage['completion_tokens']} tokens, not {want}")
    made = await plant.answers_made()
    if made != len(tokens):
        faults.append(f"{made} answers were made for {len(tokens)} lines")
    assert ended.completed_at
    seconds = ended.completed_at - ended.created_at
    return {"lines": len(tokens), "killed": dict(killed), "seconds": seconds, "answers made": made}, faults
