"""What Redis says that a worker owns and that it does not hold is handed back, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from queuechat import keys
from queuechat.bus import Bus, Claims
from queuechat.client import Client
from queuechat.protocol import End, Job, Reason, new_id
from tests.contract.test_transitions import put
from workers.backstop import Backstop
from workers.claiming import Claimer
from workers.consumer import Consumer
from workers.engines.echo import EchoEngine
from workers.prompting import Speech
from workers.pulling import Puller


@asynccontextmanager
async def working(
    bus: Bus, model: str, renew: Callable[[Consumer], Coroutine[Any, Any, None]]
) -> AsyncIterator[Consumer]:
    """A worker whose jobs `renew` renews, as its supervisor would."""
    engine = EchoEngine(400, max_running=4)
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker=f"{model}-w")
    running, renewing = asyncio.create_task(consumer.run()), asyncio.create_task(renew(consumer))
    try:
        yield consumer
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        consumer.drain()
        await running


async def renew(consumer: Consumer) -> None:
    while True:
        consumer.renewed(await consumer.bus.renew(consumer.model, f"{consumer.worker}/0"))


async def answer(client: Client, job: Job) -> End:
    events = [event async for event in client.ask(job)]
    assert isinstance(events[-1], End)
    return events[-1]


async def trail(bus: Bus, job: Job) -> list[str]:
    """What happened to it: taken, handed …"""
    lines: bytes = await bus.connection.command("HGET", keys.job(job.model, job.id), "trail")
    return [line.split()[1] for line in lines.decode().split(";") if line]


async def stands(bus: Bus, model: str) -> None:
    while not await bus.connection.command("EXISTS", keys.standing(model)):
        await asyncio.sleep(0.01)


async def test_a_grant_that_was_counted_as_heard_and_then_lost_is_answered_all_the_same(
    bus: Bus, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost = list[bytes]()

    def lose(puller: Puller, message: bytes) -> None:
        assert puller._claimer.hear(message)
        lost.append(message)

    monkeypatch.setattr(Puller, "granted", lose)
    job = Job(new_id(), model, prompt="hi", max_tokens=20)
    async with Client(bus) as client, working(bus, model, renew), asyncio.timeout(60):
        await stands(bus, model)
        end = await answer(client, job)
    assert (end.reason, end.offset, len(lost)) == (Reason.LENGTH, 20, 1)
    assert await trail(bus, job) == ["taken", "handed", "taken"]
    assert job.id in caplog.text


async def test_a_job_that_was_claimed_in_the_name_of_a_worker_is_answered_by_it(bus: Bus, model: str) -> None:
    """As when a failover has lost its end."""
    job, worker = Job(new_id(), model, prompt="hi", max_tokens=20), f"{model}-w"
    async with Client(bus) as client, asyncio.timeout(60):
        asked = await client.submit([job])
        assert len(await bus.claim(model, worker, f"{worker}/0.lost", room=1)) == 1
        async with working(bus, model, renew):
            while (await bus.watch(model, [job.id]))[0].state in ("waiting", "running"):
                await asyncio.sleep(0.01)
        await asked.close()
    assert (await bus.watch(model, [job.id]))[0].state == "length"
    assert await trail(bus, job) == ["taken", "handed", "taken"]


async def test_a_worker_without_room_looks_for_what_it_has_lost(
    bus: Bus, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BEAT_S", 3600)

    async def renew_when_full(consumer: Consumer) -> None:
        while len(consumer.held) < 4:
            await asyncio.sleep(0.01)
        await renew(consumer)

    lost, worker = Job(new_id(), model, prompt="hi", max_tokens=20), f"{model}-w"
    async with Client(bus) as client, asyncio.timeout(60):
        answers = [await client.submit([lost])]
        assert len(await bus.claim(model, worker, f"{worker}/0.lost", room=1)) == 1
        async with working(bus, model, renew_when_full):
            answers += [await client.submit([Job(new_id(), model, prompt="hi", max_tokens=8000)]) for _ in range(4)]
            while await trail(bus, lost) != ["taken", "handed"]:
                await asyncio.sleep(0.01)
            for asked in answers:
                await asked.close()


async def test_what_a_worker_holds_is_never_given_back_however_fast_it_is_renewed_and_claims(
    bus: Bus, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grants, claims, repeated claims and ends are under way all the time."""
    monkeypatch.setattr(keys, "BEAT_S", 0.002)
    looks, real = 0, Backstop.lost

    def counting(backstop: Backstop, here: Any) -> frozenset[str]:
        nonlocal looks
        looks += 1
        return real(backstop, here)

    monkeypatch.setattr(Backstop, "lost", counting)
    hear, heard = Claimer.hear, 0

    def half_deaf(claimer: Claimer, message: bytes) -> Any:
        nonlocal heard
        heard += 1
        return hear(claimer, message) if heard % 2 else None

    monkeypatch.setattr(Claimer, "hear", half_deaf)
    lanes = ("jobs", "jobs", "bulk")
    jobs = [Job(new_id(), model, prompt="hi", max_tokens=1 + n % 30, lane=lanes[n % 3]) for n in range(60)]  # type: ignore[arg-type]
    async with Client(bus) as client, working(bus, model, renew), asyncio.timeout(120):
        for at in range(0, len(jobs), 3):
            ends = await asyncio.gather(*(answer(client, job) for job in jobs[at : at + 3]))
            assert {end.reason for end in ends} == {Reason.LENGTH}
    assert {tuple(await trail(bus, job)) for job in jobs} == {("taken",)}
    assert looks > len(jobs)


async def test_what_is_granted_while_the_worker_compares_is_on_its_way_and_not_given_back(
    bus: Bus, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BEAT_S", 0.05)
    monkeypatch.setattr(Claimer, "hear", lambda *_: None)
    jobs = [Job(new_id(), model, prompt="hi", max_tokens=5) for _ in range(3)]
    left, real, named = [*jobs], bus.claim, set[str]()

    async def granted_meanwhile(*args: Any, **kwargs: Any) -> Claims:
        claims = await real(*args, **kwargs)
        if claims.stands and left:
            await put(bus, left.pop())
            owned = await bus.renew(model, f"{model}-w/0")
            consumer.renewed(owned)
            named.update(owned)
        return claims

    async with working(bus, model, lambda _: asyncio.sleep(0)) as consumer, asyncio.timeout(60):
        monkeypatch.setattr(bus, "claim", granted_meanwhile)
        while {sight.state for sight in await bus.watch(model, [job.id for job in jobs])} != {"length"}:
            await asyncio.sleep(0.01)
    assert {tuple(await trail(bus, job)) for job in jobs} == {("taken",)}
    assert named == {job.id for job in jobs}


def test_a_job_is_lost_when_two_renewals_in_a_row_name_it_and_it_was_here_at_neither() -> None:
    backstop = Backstop()
    backstop.renewed(["held", "lost"])
    assert backstop.lost(["held"]) == set()
    assert backstop.lost(["held"]) == set(), "no other renewal came"
    backstop.renewed(["held", "lost"])
    assert backstop.lost(["held"]) == {"lost"}


def test_a_job_that_came_or_ended_between_two_renewals_is_not_lost() -> None:
    backstop = Backstop()
    backstop.renewed(["on its way", "ended", "later"])
    assert backstop.lost(["later"]) == set()
    backstop.renewed(["on its way", "later"])
    assert backstop.lost(["on its way"]) == set()
    backstop.renewed(["later", "ended"])
    assert backstop.lost([]) == {"later"}
