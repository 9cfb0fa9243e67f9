"""The consumer with an engine that fails: one request's trouble stays its own, an engine's death is everybody's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.client import Client, Waiting
from queuechat.errors import EngineDied
from queuechat.protocol import End, Job, Reason, new_id
from workers.consumer import Consumer
from workers.engines.echo import EchoEngine
from workers.prompting import Speech


class Fragile(EchoEngine):
    """An echo whose embeddings fail."""

    def __init__(self, failure: Exception):
        super().__init__()
        self._failure = failure

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        raise self._failure


def consumer_of(bus: Bus, model: str, failure: Exception) -> Consumer:
    engine = Fragile(failure)
    return Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker="w")


async def test_a_request_on_which_the_engine_fails_ends_and_frees_its_slot(bus: Bus, model: str) -> None:
    consumer = consumer_of(bus, model, RuntimeError("out of memory"))
    running = asyncio.create_task(consumer.run())
    async with Client(bus) as client:
        events = [event async for event in client.ask(Job(new_id(), model, inputs=["x"]))]
    end = events[-1]
    assert isinstance(end, End)
    assert end.reason is Reason.ERROR
    assert end.error is not None
    assert "out of memory" not in end.error.message
    assert consumer.held == {}
    consumer.drain()
    await running


async def test_an_engine_that_dies_while_it_embeds_ends_the_consumer_and_leaves_the_job_to_another(
    bus: Bus, model: str
) -> None:
    consumer = consumer_of(bus, model, EngineDied("gone"))
    async with Client(bus) as client:
        answer = await client.submit([Job(new_id(), model, inputs=["x"])])
        with pytest.raises(EngineDied):
            await consumer.run()
        assert (await bus.depth(model)).running == 1
        await answer.close()


async def test_what_nobody_reads_along_is_published_in_heaps_and_is_the_same(bus: Bus, model: str) -> None:
    engine = EchoEngine(1000)
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker="w")
    running = asyncio.create_task(consumer.run())
    read, heaped = (Job(new_id(), model, prompt="words", max_tokens=1000, heaped=heaped) for heaped in (False, True))
    async with Client(bus) as client:
        heard = [[event async for event in client.ask(job)] for job in (read, heaped)]
    consumer.drain()
    await running
    texts = ["".join(event.text for event in events if not isinstance(event, Waiting)) for events in heard]
    assert texts[0] == texts[1]
    entries = [len(await bus.read_log(model, job.id)) for job in (read, heaped)]
    assert 2 * entries[1] < entries[0]


async def test_what_redis_lost_before_the_end_is_said_again_by_who_has_it(
    bus: Bus, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = EchoEngine(200)
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker="w")
    job = Job(new_id(), model, prompt="words", max_tokens=40)
    plainly, finishes = bus.finish, 0

    async def forgetful(*arguments: Any) -> Any:
        nonlocal finishes
        finishes += 1
        if finishes == 1:
            await lose_half(bus, job)
        return await plainly(*arguments)

    monkeypatch.setattr(bus, "finish", forgetful)
    running = asyncio.create_task(consumer.run())
    async with Client(bus) as client, asyncio.timeout(60):
        events = [event async for event in client.ask(job)]
    consumer.drain()
    await running
    assert isinstance(events[-1], End)
    assert (events[-1].reason, events[-1].offset, finishes) == (Reason.LENGTH, 40, 2)
    assert consumer.tokens == 40


async def lose_half(bus: Bus, job: Job) -> None:
    """As a replica that takes over may lack the last writes."""
    log, at = keys.log(job.model, job.id), keys.job(job.model, job.id)
    entries = await bus.connection.command("XRANGE", log, "-", "+")
    kept = entries[: len(entries) // 2]
    again = [("XADD", log, id, *(part for pair in fields.items() for part in pair)) for id, fields in kept]
    id, fields = kept[-1]
    state = ("HSET", at, "next", id.decode().partition("-")[0], "hash", fields[b"h"])
    await bus.connection.insist([("DEL", log), *again, state])
