"""A task that is cancelled while it speaks to Redis ends, whatever redis-py and the event loop make of it."""

from __future__ import annotations

import asyncio
import random

from queuechat.bus import Bus
from queuechat.errors import QueuechatError
from queuechat.roster import take_census


async def test_a_cancelled_call_is_never_taken_for_a_finished_one(bus: Bus) -> None:
    async def ask_for_ever() -> None:
        while True:
            await take_census(bus)

    chance = random.Random(1)
    outcomes = []
    for _ in range(300):
        task = asyncio.create_task(ask_for_ever())
        for _ in range(chance.randrange(1, 40)):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=5)
        outcomes.append("ended" if done and task.cancelled() else "went on")
        task.cancel()
    assert set(outcomes) == {"ended"}


async def test_a_cancelled_task_can_still_speak_to_redis_while_it_cleans_up(bus: Bus, model: str) -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await bus.cancel(model, ["nobody"])
            await bus.connection.command("SET", f"{model}:cleaned", "yes")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert await bus.connection.command("GET", f"{model}:cleaned") == b"yes"


async def test_a_bus_whose_calls_were_cancelled_still_answers_rightly(bus: Bus, model: str) -> None:
    async def write_and_read(number: int) -> None:
        await bus.connection.command("SET", f"{model}:{number}", number)
        assert await bus.connection.command("GET", f"{model}:{number}") == str(number).encode()

    chance = random.Random(2)
    tasks = [asyncio.create_task(write_and_read(k)) for k in range(300)]
    for task in chance.sample(tasks, 100):
        task.cancel()
        await asyncio.sleep(0)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError | QueuechatError)
