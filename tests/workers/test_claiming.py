"""A worker's claims on a real Redis: each job that was granted is taken once, whatever it hears of, in any order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuechat import keys
from queuechat.bus import Bus, Claim, Claims, Grant
from queuechat.client import Client
from queuechat.errors import BusUnavailable
from queuechat.protocol import End, Job, new_id
from tests.contract.test_standing import Ears
from tests.contract.test_transitions import a_job, put
from workers.claiming import Claimer
from workers.consumer import Consumer
from workers.engines.echo import EchoEngine
from workers.prompting import Speech


@pytest.fixture(autouse=True)
def for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "STANDING_MS", 3_600_000)


@pytest.fixture
async def channel(bus: Bus, model: str) -> Ears:
    channel = Ears(bus)
    await channel.open(f"{model}-w")
    return channel


@pytest.fixture
def claimer(bus: Bus, model: str) -> Claimer:
    return Claimer(bus, model, f"{model}-w", "1")


async def claim(claimer: Claimer) -> Claims:
    return await claimer.take(4, 0, 0, free=8)


async def test_a_grant_is_heard_of_once(bus: Bus, model: str, claimer: Claimer, channel: Ears) -> None:
    await claim(claimer)
    job = a_job(model)
    await put(bus, job)
    message = await channel.next()
    heard = claimer.hear(message)
    assert isinstance(heard, Grant)
    assert heard.claim.job == job
    assert claimer.hear(message) is None
    assert await claim(claimer) == []


async def test_a_grant_whose_message_was_lost_is_taken_with_the_next_claim(
    bus: Bus, model: str, claimer: Claimer, channel: Ears
) -> None:
    await claim(claimer)
    heard, lost = a_job(model), a_job(model)
    await put(bus, heard)
    assert claimer.hear(await channel.next())
    await put(bus, lost)
    late = await channel.next()
    assert [one.job for one in await claim(claimer)] == [lost]
    assert claimer.hear(late) is None


async def test_a_grant_is_taken_once_when_its_message_comes_before_the_answer_that_brings_it(
    bus: Bus, model: str, claimer: Claimer, channel: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claim(claimer)
    await put(bus, a_job(model))
    message, real = await channel.next(), bus.claim

    async def heard_meanwhile(*args: Any, **kwargs: Any) -> Claims:
        claims = await real(*args, **kwargs)
        assert claimer.hear(message)
        return claims

    monkeypatch.setattr(bus, "claim", heard_meanwhile)
    assert await claim(claimer) == []


async def test_a_grant_that_comes_before_the_answer_that_leaves_the_claim_standing_is_heard(
    bus: Bus, model: str, claimer: Claimer, channel: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, real, heard = a_job(model), bus.claim, list[Grant | None]()

    async def granted_meanwhile(*args: Any, **kwargs: Any) -> Claims:
        claims = await real(*args, **kwargs)
        await put(bus, job)
        heard.append(claimer.hear(await channel.next()))
        return claims

    monkeypatch.setattr(bus, "claim", granted_meanwhile)
    assert await claim(claimer) == []
    monkeypatch.undo()
    assert [grant.claim.job for grant in heard if grant] == [job]
    assert await claim(claimer) == []


@pytest.mark.parametrize("told", [True, False], ids=["heard of", "not heard of"])
async def test_what_is_granted_to_a_claim_whose_answer_is_lost_is_taken_once(
    bus: Bus, model: str, claimer: Claimer, channel: Ears, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    job, real, heard = a_job(model), bus.claim, list[Grant | None]()

    async def lost_once(*args: Any, **kwargs: Any) -> Claims:
        claims = await real(*args, **kwargs)
        if kwargs["again"]:
            return claims
        await put(bus, job)
        message = await channel.next()
        heard.extend([claimer.hear(message)] if told else [])
        raise BusUnavailable("the answer was lost")

    monkeypatch.setattr(bus, "claim", lost_once)
    taken = [one.job for one in await claim(claimer)] + [grant.claim.job for grant in heard if grant]
    assert taken == [job]


async def test_a_grant_that_cannot_be_read_ends_its_job_with_the_next_claim(
    bus: Bus, model: str, claimer: Claimer, channel: Ears
) -> None:
    await claim(claimer)
    job = a_job(model)
    await put(bus, job)
    head, _, _ = (await channel.next()).partition(b"\n")
    await bus.connection.command("HSET", keys.job(model, job.id), "job", b"9{}")
    assert claimer.hear(head + b"\n9{}") is None
    assert await claim(claimer) == []
    assert (await bus.watch(model, [job.id]))[0].state == "error"


async def test_a_worker_answers_though_none_of_its_grants_arrives(
    bus: Bus, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claimer, "hear", lambda *_: None)
    engine = EchoEngine()
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker=f"{model}-w")
    running = asyncio.create_task(consumer.run())
    async with Client(bus) as client, asyncio.timeout(60):
        while not await bus.connection.command("EXISTS", keys.standing(model)):
            await asyncio.sleep(0.01)
        events = [event async for event in client.ask(Job(new_id(), model, prompt="hi"))]
    assert isinstance(events[-1], End)
    consumer.drain()
    await running


async def test_a_worker_that_drains_leaves_no_claim_standing(bus: Bus, model: str) -> None:
    engine = EchoEngine(20)
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker=f"{model}-w")
    running = asyncio.create_task(consumer.run())
    async with Client(bus) as client, asyncio.timeout(60):
        answer = await client.submit([Job(new_id(), model, prompt="one two three four", max_tokens=40)])
        await answer.take()
        consumer.drain()
        while await bus.connection.command("EXISTS", keys.standing(model)):
            await asyncio.sleep(0.01)
        assert not running.done()
        await put(bus, a_job(model))
        await running
        await answer.close()
    assert (await bus.depth(model)).waiting == 1


async def test_a_worker_never_holds_more_than_it_has_places_for(bus: Bus, model: str) -> None:
    """A grant and a line of a batch come at once: the one is heard of when the other is claimed."""
    engine = EchoEngine(50, max_running=1)
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker=f"{model}-w")
    most, real = 0, consumer._take

    async def counting(claim: Claim) -> None:
        nonlocal most
        await real(claim)
        most = max(most, len(consumer.held))

    consumer._puller._take = counting
    running = asyncio.create_task(consumer.run())
    async with asyncio.timeout(60):
        for _ in range(5):
            while not await bus.connection.command("EXISTS", keys.standing(model)):
                await asyncio.sleep(0.01)
            jobs = [Job(new_id(), model, prompt="hi", max_tokens=5, lane=lane) for lane in ("bulk", "jobs")]
            await asyncio.gather(*(bus.enqueue([job], limit=10, grace_s=0) for job in jobs))
            while (depth := await bus.depth(model)).waiting + depth.bulk_waiting + depth.running:
                await asyncio.sleep(0.01)
    consumer.drain()
    await running
    assert most == 1


async def test_what_is_heard_of_while_a_claim_is_repeated_counts_in_its_room(
    bus: Bus, model: str, claimer: Claimer, channel: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claimer.take(1, 0, 0, free=1)
    first, second, real, heard = a_job(model), a_job(model), bus.claim, list[Grant | None]()

    async def lost_before_redis(*args: Any, **kwargs: Any) -> Claims:
        if kwargs["again"]:
            return await real(*args, **kwargs)
        await put(bus, first)
        heard.append(claimer.hear(await channel.next()))
        await put(bus, second)
        raise BusUnavailable("nobody is there")

    monkeypatch.setattr(bus, "claim", lost_before_redis)
    assert await claimer.take(1, 0, 0, free=1) == []
    assert [grant.claim.job for grant in heard if grant] == [first]
    assert (await bus.depth(model)).waiting == 1
