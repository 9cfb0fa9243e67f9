"""One engine under several names: each has its own queue, and together they take no more than there is room for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.errors import EngineDied
from queuechat.protocol import Chunk, End, Job, Reason, Sampling, new_id
from tests.contract.steps import crashed, put
from workers.consumer import Consumer
from workers.engines.base import Prompt
from workers.engines.echo import EchoEngine
from workers.places import Places
from workers.prompting import Speech
from workers.sharing import Share, deal


class Dressed(EchoEngine):
    """An echo that notes what its sequences wear."""

    def __init__(self, max_running: int, rate: float = 0.0) -> None:
        super().__init__(rate, max_running=max_running)
        self.worn: list[str] = []
        self.met: list[tuple[str, list[tuple[str, int]]]] = []  # what each wore, and what ran then, how far
        self.most = 0
        self._adapters: dict[str, str] = {}

    def admit(self, prompt: Prompt) -> None:
        self._adapters[prompt.id] = prompt.adapter
        self.worn.append(prompt.adapter)
        self.met.append((prompt.adapter, [(self._adapters[id], one.at) for id, one in self._sequences.items()]))
        super().admit(replace(prompt, adapter=""))
        self.most = max(self.most, self.running())


@contextlib.asynccontextmanager
async def shared(bus: Bus, model: str, engine: Dressed) -> AsyncIterator[list[Consumer]]:
    """Consumers of the model and of its adapter `<model>-a`, on one engine."""
    engine.start()
    shares = {model: Share(engine, ""), f"{model}-a": Share(engine, f"{model}-a")}
    dealing = asyncio.create_task(deal(engine, list(shares.values())))
    places, speech = Places(engine.caps.max_running), Speech(engine.vocabulary, "")
    consumers = [Consumer(bus, share, speech, model=name, worker="w", places=places) for name, share in shares.items()]
    running = [asyncio.create_task(consumer.run()) for consumer in consumers]
    try:
        yield consumers
    finally:
        for consumer in consumers:
            consumer.drain()
        await asyncio.gather(*running, return_exceptions=True)
        dealing.cancel()


async def whole(client: Client, job: Job) -> list[Chunk | End]:
    return [event async for event in client.ask(job) if isinstance(event, Chunk | End)]


def a_job(model: str, tokens: int = 5) -> Job:
    return Job(new_id(), model, prompt="ab", max_tokens=tokens, sampling=Sampling(seed=1))


async def test_a_job_wears_the_adapter_whose_queue_it_was_in(bus: Bus, model: str) -> None:
    engine = Dressed(4)
    async with shared(bus, model, engine), Client(bus) as client:
        for name in (model, f"{model}-a", model):
            *_, end = await whole(client, a_job(name))
            assert isinstance(end, End)
            assert (end.reason, end.offset) == (Reason.LENGTH, 5)
    assert engine.worn == ["", f"{model}-a", ""]


async def test_a_flood_under_both_names_fills_the_engine_and_no_more(bus: Bus, model: str) -> None:
    engine = Dressed(3, rate=200)
    async with shared(bus, model, engine), Client(bus) as client:
        asked = [whole(client, a_job(name, 20)) for _ in range(12) for name in (model, f"{model}-a")]
        for *_, end in await asyncio.gather(*asked):
            assert isinstance(end, End)
            assert end.reason is Reason.LENGTH
    assert engine.most == 3


async def test_who_floods_one_name_does_not_starve_the_other(bus: Bus, model: str) -> None:
    engine = Dressed(2, rate=200)
    async with shared(bus, model, engine), Client(bus) as client:
        flood = [asyncio.create_task(whole(client, a_job(model, 30))) for _ in range(30)]
        while len(engine.worn) < 4:
            await asyncio.sleep(0.01)
        await whole(client, a_job(f"{model}-a"))
        assert sum(not task.done() for task in flood) > 15
        await asyncio.gather(*flood)


async def test_a_suspect_of_one_name_is_tried_alone_among_all(bus: Bus, model: str) -> None:
    engine, other = Dressed(4, rate=100), f"{model}-a"
    suspect, company = a_job(other, 30), [a_job(model, 30) for _ in range(8)]
    await put(bus, suspect)
    await crashed(bus, other, keys.SUSPECT)
    for job in company:
        await put(bus, job)
    async with shared(bus, model, engine), Client(bus) as client:
        for job in (suspect, *company):
            events = [event async for event in client.resume(job.model, job.id)]
            assert isinstance(events[-1], End)
            assert events[-1].reason is Reason.LENGTH
    (at,) = [n for n, (adapter, _) in enumerate(engine.met) if adapter]
    assert all(offset >= keys.PROVEN for _, offset in engine.met[at][1])
    for _, running in engine.met[at + 1 :]:
        assert all(offset >= keys.PROVEN for adapter, offset in running if adapter)


async def test_an_engine_that_ends_ends_the_consumers_of_all_names(bus: Bus, model: str) -> None:
    engine = Dressed(2)
    places, shares = Places(2), [Share(engine, ""), Share(engine, "a")]
    speech = Speech(engine.vocabulary, "")
    running = [
        asyncio.create_task(Consumer(bus, share, speech, model=f"{model}{n}", worker="w", places=places).run())
        for n, share in enumerate(shares)
    ]
    dealing = asyncio.create_task(deal(engine, shares))
    await asyncio.sleep(0)
    engine.close()
    await dealing
    for task in running:
        with pytest.raises(EngineDied):
            await task
