"""What keeps Redis small and its answers short: bytes of a claim, memory for what is stored, time for readings."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuechat import keys
from queuechat.bus import Bus, Item, Verdict
from queuechat.errors import MemoryLow, QueueFull
from queuechat.letters import list_letters, redrive
from queuechat.protocol import Chunk, Job, PrefixHash, new_id
from queuechat.responses import Record, delete_response, find_response, put_response
from tests.contract.steps import a_job, buried, end, put, say, state, take

LARGE = 3 << 20  # two of these are more than a claim gives out


async def large(bus: Bus, model: str, count: int) -> list[Job]:
    jobs = [Job(new_id(), model, prompt="x" * LARGE) for _ in range(count)]
    for job in jobs:
        await put(bus, job)
    return jobs


async def test_a_claim_gives_out_a_few_megabytes_and_the_next_one_the_rest(bus: Bus, model: str) -> None:
    jobs = await large(bus, model, 5)
    counts = [len(await take(bus, model)) for _ in range(4)]
    assert counts == [2, 2, 1, 0]
    assert [await state(bus, job) for job in jobs] == ["running"] * 5


async def test_what_was_handed_back_is_given_out_a_few_megabytes_at_a_time_too(bus: Bus, model: str) -> None:
    await large(bus, model, 3)
    for worker in ("a", "a"):
        await take(bus, model, worker)
    await bus.release(model, "a", crashed=False)
    assert [len(await take(bus, model, "b")) for _ in range(3)] == [2, 1, 0]


async def test_one_request_that_is_larger_than_that_is_given_out(bus: Bus, model: str) -> None:
    await put(bus, Job(new_id(), model, prompt="x" * 2 * LARGE))
    assert len(await take(bus, model)) == 1


async def test_what_was_only_read_is_kept_for_a_minute(bus: Bus, model: str) -> None:
    job = a_job(model, lane="reads", reading="ids")
    await put(bus, job)
    (claim,) = await bus.claim(model, "w", "w/1.a", room=0, turn=1, reads_room=1)
    await end(bus, claim, 0)
    for name in (keys.job(model, job.id), keys.log(model, job.id)):
        assert 0 < await bus.connection.command("PTTL", name) <= 60_000


async def test_flex_requests_find_room_beside_the_lines_of_batches(bus: Bus, model: str) -> None:
    for _ in range(20):
        await put(bus, a_job(model, lane="bulk", tenant="batch"), limit=0)
    flex = [a_job(model, lane="bulk", tenant="flex") for _ in range(3)]
    for job in flex[:2]:
        await put(bus, job, limit=5)
    with pytest.raises(QueueFull):  # its share of five places
        await put(bus, flex[2], limit=5)


async def test_vectors_are_no_tokens_that_were_written(bus: Bus, model: str) -> None:
    await put(bus, Job(new_id(), model, inputs=["a"]))
    (claim,) = await take(bus, model)
    chunk, after = Chunk(0, 1, vector="AAAA"), PrefixHash().update([0])
    item = Item(claim.job.id, claim.nonce, 0, 1, "", after, chunk.encode())
    assert await bus.publish(model, [item]) == [Verdict.OK]
    await end(bus, claim, 1)
    ((_, fields),) = await bus.connection.command("XRANGE", keys.usage(model), "-", "+")
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    assert (row[b"tokens"], row[b"prompt_tokens"]) == (b"0", b"3")


async def test_a_letter_of_a_release_that_counted_nothing_takes_nothing_back(bus: Bus, model: str) -> None:
    job = await buried(bus, model, tokens=9)
    (spent,) = await bus.find_keys(keys.spent(model, "*"))
    await bus.connection.insist([("DEL", spent), ("HDEL", keys.job(model, job.id), "counted")])
    assert await redrive(bus, await list_letters(bus, [model])) == ["OK"]
    assert not await bus.find_keys(keys.spent(model, "*"))


@pytest.fixture
async def scarce(bus: Bus) -> AsyncIterator[None]:
    """Almost no memory is left."""
    used = int((await bus.connection.redis.info("memory"))["used_memory"])
    await bus.connection.command("CONFIG", "SET", "maxmemory", used + (1 << 20))
    yield
    await bus.connection.command("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.usefixtures("scarce")
async def test_nothing_is_stored_when_memory_is_short(bus: Bus, model: str) -> None:
    record = Record(new_id(), "", model, b"{}")
    with pytest.raises(MemoryLow):
        await put_response(bus, record, 60)
    assert not await bus.connection.command("EXISTS", keys.response(record.id))


async def test_a_response_whose_deletion_broke_off_can_be_deleted_again(
    bus: Bus, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(model)
    record = Record(job.id, "", model, b"{}")
    await put_response(bus, record, 60)
    await put(bus, job)
    (claim,) = await take(bus, model)
    await say(bus, claim, 2)
    await end(bus, claim, 2)
    call, calls = bus.connection.call, list[str]()

    async def broken(function: str, *args: object, **options: object) -> object:
        calls.append(function)
        if function == "qc1_response_drop" and calls.count(function) == 1:
            raise MemoryLow("it broke off")
        return await call(function, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bus.connection, "call", broken)
    with pytest.raises(MemoryLow):
        await delete_response(bus, record)
    await delete_response(bus, await find_response(bus, record.id, ""))
    for name in (keys.job(model, job.id), keys.log(model, job.id)):
        assert not await bus.connection.command("EXISTS", name)
    assert await bus.connection.command("HGET", keys.response(record.id), "deleted") == b"1"
