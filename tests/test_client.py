"""The client against a real Redis: lost messages, slow readers, a flushed server, a full queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from queuechat import keys
from queuechat.bus import Bus, Claim, Item
from queuechat.client import Answer, Client, Event, Waiting, failure_of
from queuechat.errors import (
    Cancelled,
    ContextLengthExceeded,
    DeadlineExceeded,
    JobFailed,
    QueueFull,
    RequestNotFound,
    StateLost,
)
from queuechat.protocol import Chunk, End, Failure, Job, PrefixHash, Reason, new_id


@pytest.fixture
async def client(bus: Bus) -> AsyncIterator[Client]:
    async with Client(bus, queue_limit=2) as opened:
        yield opened


def a_job(model: str) -> Job:
    return Job(new_id(), model, prompt="hi")


async def owned(bus: Bus, model: str) -> Claim:
    (claim,) = await bus.claim(model, "w", f"w/{new_id()}", room=1)
    return claim


async def say(bus: Bus, claim: Claim, offset: int) -> None:
    chunk = Chunk(offset, 1, f" {offset}", [offset])
    before, after = (PrefixHash().update(range(n)) if n else "" for n in (offset, offset + 1))
    await bus.publish(claim.job.model, [Item(claim.job.id, claim.nonce, offset, 1, before, after, chunk.encode())])


async def end(bus: Bus, claim: Claim, offset: int) -> None:
    await bus.finish(claim.job.model, [(claim.job.id, claim.nonce, End(Reason.STOP, offset))])


async def drained(answer: Answer) -> list[Event]:
    """Everything up to the end."""
    events: list[Event] = []
    while taken := await answer.take():
        events += [event for _, event in taken]
    return events


async def test_messages_that_pub_sub_lost_are_read_from_the_log(bus: Bus, client: Client, model: str) -> None:
    job = a_job(model)
    answer = await client.submit([job])
    claim = await owned(bus, model)
    for subscription in answer._subscriptions:
        await bus.listener.unsubscribe(subscription)
    for offset in range(3):
        await say(bus, claim, offset)
    await end(bus, claim, 3)
    assert [e.offset for e in await drained(answer) if not isinstance(e, Waiting)] == [0, 1, 2, 3]
    await answer.close()


async def test_a_reader_that_falls_behind_loses_nothing(bus: Bus, client: Client, model: str) -> None:
    answer = await client.submit([a_job(model)])
    claim = await owned(bus, model)
    count = 3000
    for offset in range(count):
        await say(bus, claim, offset)
    await end(bus, claim, count)
    assert [e.offset for e in await drained(answer) if isinstance(e, Chunk)] == list(range(count))
    await answer.close()


async def test_a_place_in_the_waiting_room_is_told(client: Client, model: str) -> None:
    first, second = await client.submit([a_job(model)]), await client.submit([a_job(model)])
    assert [event for _, event in await second.take()] == [Waiting(2, 0.0)]
    assert [event for _, event in await first.take()] == [Waiting(1, 0.0)]
    await first.close()
    await second.close()


async def test_a_full_waiting_room_says_when_to_come_back(client: Client, model: str) -> None:
    answers = [await client.submit([a_job(model)]) for _ in range(2)]
    with pytest.raises(QueueFull) as caught:
        await client.submit([a_job(model)])
    assert caught.value.retry_after
    for answer in answers:
        await answer.close()


async def test_leaving_early_cancels_and_a_reader_who_came_later_does_not(bus: Bus, client: Client, model: str) -> None:
    job = a_job(model)
    answer = await client.submit([job])
    claim = await owned(bus, model)
    await say(bus, claim, 0)
    async for event in client.resume(model, job.id):
        assert isinstance(event, Chunk)
        break
    assert (await bus.renew(model, "w"))[job.id] == "OK"
    await answer.close()
    assert (await bus.renew(model, "w"))[job.id] == "CANCEL"


async def test_two_readers_of_one_job_both_hear_it_and_one_may_leave(bus: Bus, client: Client, model: str) -> None:
    job = a_job(model)
    answer = await client.submit([job])
    claim = await owned(bus, model)
    first = client.resume(model, job.id)
    await say(bus, claim, 0)
    assert isinstance(await anext(first), Chunk)
    await first.aclose()  # type: ignore[attr-defined]
    assert [event.offset for _, event in await answer.take() if isinstance(event, Chunk)] == [0]
    channel = keys.out(model, job.id)
    assert await bus.connection.command("PUBSUB", "NUMSUB", channel) == [channel.encode(), 1]
    await answer.close()


async def test_channels_that_nobody_reads_any_more_are_not_asked_for_again(bus: Bus, model: str) -> None:
    for number in range(50):
        subscription = await bus.listener.subscribe(f"{model}:{number}", lambda _: None)
        await bus.listener.unsubscribe(subscription)
    synced = asyncio.Event()
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await bus.listener.subscribe(f"{model}:kept", heard.put_nowait, synced.set)
    synced.clear()
    await bus.connection.command("CLIENT", "KILL", "TYPE", "pubsub")
    await synced.wait()
    channels = await bus.connection.command("PUBSUB", "CHANNELS", f"{model}:*")
    assert channels == [f"{model}:kept".encode()]
    await bus.connection.command("PUBLISH", f"{model}:kept", "still here")
    assert await heard.get() == b"still here"


async def test_a_job_that_is_gone_from_redis_is_an_error_not_silence(bus: Bus, client: Client, model: str) -> None:
    job = a_job(model)
    answer = await client.submit([job])
    await bus.connection.command("DEL", keys.job(model, job.id))
    with pytest.raises(StateLost):
        await drained(answer)
    await answer.close()


async def test_an_unknown_request_cannot_be_resumed(client: Client, model: str) -> None:
    with pytest.raises(RequestNotFound):
        _ = [event async for event in client.resume(model, new_id())]


def test_only_ends_without_a_full_answer_stand_for_an_error() -> None:
    assert [failure_of(End(reason)) for reason in (Reason.STOP, Reason.LENGTH)] == [None, None]
    kinds = {Reason.CANCELLED: Cancelled, Reason.DEADLINE: DeadlineExceeded, Reason.DEAD: JobFailed}
    assert {reason: type(failure_of(End(reason))) for reason in kinds} == kinds
    refused = failure_of(End(Reason.ERROR, error=Failure("context_length_exceeded", "too long", "messages")))
    assert isinstance(refused, ContextLengthExceeded)
    assert (refused.message, refused.param) == ("too long", "messages")
