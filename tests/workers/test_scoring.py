"""Prompts that are scored before they are answered, by a real consumer: an echo that finds byte n likely by -n."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import Chunk, End, Job, Logprob, Reason, new_id
from tests.contract.steps import say, take
from workers.consumer import Consumer
from workers.engines.echo import EchoEngine
from workers.prompting import Speech


class Scoring(EchoEngine):
    def __init__(self) -> None:
        super().__init__()
        self.caps = replace(self.caps, scores=True)
        self.asked, self.go = 0, threading.Event()
        self.go.set()

    def score(self, ids: Sequence[int], alternatives: int) -> list[Logprob]:
        self.asked += 1
        self.go.wait()
        return [Logprob(b"", None if k == 0 else -float(id)) for k, id in enumerate(ids)]


@contextlib.asynccontextmanager
async def a_consumer(bus: Bus, model: str, engine: Scoring) -> AsyncIterator[Consumer]:
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker="other")
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        consumer.drain()
        await running


def a_job(model: str, tokens: int) -> Job:
    return Job(new_id(), model, prompt="ab", max_tokens=tokens, prompt_logprobs=0)


async def test_the_first_chunk_brings_the_prompt_and_no_other(bus: Bus, model: str) -> None:
    async with a_consumer(bus, model, Scoring()), Client(bus) as client:
        events = [event async for event in client.ask(a_job(model, 20))]
    chunks = [event for event in events if isinstance(event, Chunk)]
    assert [one.logprob for one in chunks[0].prompt] == [None, -99.0]
    told = [event.prompt for event in events if isinstance(event, Chunk | End)]
    assert not any(told[1:])
    assert sum(chunk.count for chunk in chunks) == 20


async def test_an_answer_of_no_tokens_tells_the_prompt_at_its_end(bus: Bus, model: str) -> None:
    async with a_consumer(bus, model, Scoring()), Client(bus) as client:
        (end,) = [event async for event in client.ask(a_job(model, 0)) if isinstance(event, Chunk | End)]
    assert isinstance(end, End)
    assert (end.reason, end.offset, [one.logprob for one in end.prompt]) == (Reason.LENGTH, 0, [None, -99.0])


async def test_who_takes_over_scores_only_what_was_not_told(bus: Bus, model: str) -> None:
    engine = Scoring()
    async with Client(bus) as client:
        for said, scored in ((0, 1), (3, 0)):
            engine.asked = 0
            answer = await client.submit([a_job(model, 20)])
            (claim,) = await take(bus, model, "first")
            if said:
                await say(bus, claim, said)
            await bus.release(model, "first", crashed=True)
            async with a_consumer(bus, model, engine):
                while not answer.ended:
                    await answer.take()
            assert engine.asked == scored
            await answer.close()


async def test_a_request_that_is_cancelled_while_it_is_scored_never_runs(bus: Bus, model: str) -> None:
    engine = Scoring()
    engine.go.clear()
    async with a_consumer(bus, model, engine) as consumer, Client(bus) as client:
        job = a_job(model, 20)
        answer = await client.submit([job])
        while not engine.asked:
            await asyncio.sleep(0.01)
        consumer.cancel(job.id)
        engine.go.set()
        events = [event for _, event in await answer.take()]
        assert [event.reason for event in events if isinstance(event, End)] == [Reason.CANCELLED]
        assert engine.running() == 0
        await answer.close()
