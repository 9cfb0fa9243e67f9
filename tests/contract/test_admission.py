"""Who is let in: the waiting room, the wait, the memory, idempotency keys, and places of an API key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from queuechat import keys
from queuechat.allowance import Allowance
from queuechat.bus import Accepted, Bus, Repeated
from queuechat.errors import IdempotencyMismatch, MemoryLow, QueueFull, TooManyRequests, WaitTooLong
from queuechat.protocol import Job, Reason, new_id
from tests.conftest import free_port, start_redis
from tests.contract.steps import a_job, crashed, end, put, state, take, waiting

IDEM = ("key", "body")
KEEP_MS = 15 * 60_000
FIFTH = 0.2001  # how far a wait is strewn, so that who was refused together does not come back together


async def ended_after(bus: Bus, model: str, *ms: int) -> None:
    """Usage entries of jobs that ran so long."""
    for took in ms:
        now = int((await bus.connection.command("TIME"))[0]) * 1000
        row = ("id", new_id(), "started", now - took, "ended", now)
        await bus.connection.command("XADD", keys.usage(model), "*", *row)


# -- the waiting room --------------------------------------------------------------------------------------------------


async def test_a_full_room_says_when_it_has_a_place_by_how_fast_jobs_end(bus: Bus, model: str) -> None:
    await waiting(bus, model, 2)
    await take(bus, model)  # two run at a time
    await ended_after(bus, model, 19_000, 21_000)
    await waiting(bus, model, 3)
    with pytest.raises(QueueFull, match="3 requests wait") as refused:
        await put(bus, a_job(model), limit=3)
    assert refused.value.retry_after == pytest.approx(10, rel=FIFTH)
    with pytest.raises(QueueFull) as refused:
        await put(bus, a_job(model), a_job(model), a_job(model), limit=3)
    assert refused.value.retry_after == pytest.approx(30, rel=FIFTH)
    assert (await bus.depth(model)).waiting == 3


async def queued_for(bus: Bus, model: str, ms: int, count: int) -> None:
    """So many jobs that wait for so long."""
    queue, seconds = f"{keys.jobs(model)}:of:", (await bus.connection.command("TIME"))[0]
    await waiting(bus, model, count)
    for number, sid in enumerate(await bus.connection.command("ZRANGE", queue, 0, -1)):
        await bus.connection.command("ZADD", queue, "XX", int(seconds) * 1000 - ms + number, sid)


async def test_a_full_room_of_which_nothing_is_known_is_to_be_tried_again_soon(bus: Bus, model: str) -> None:
    await waiting(bus, model, 1)
    with pytest.raises(QueueFull) as refused:
        await put(bus, a_job(model), limit=1)
    assert refused.value.retry_after == pytest.approx(5, rel=FIFTH)


async def test_nobody_is_sent_away_for_longer_than_a_minute(bus: Bus, model: str) -> None:
    await waiting(bus, model, 1)
    await take(bus, model)
    await ended_after(bus, model, 500_000)
    await waiting(bus, model, 1)
    with pytest.raises(QueueFull) as refused:
        await put(bus, a_job(model), limit=1)
    assert refused.value.retry_after == pytest.approx(60, rel=FIFTH)


async def test_a_request_that_comes_too_late_in_any_case_is_refused_at_once(bus: Bus, model: str) -> None:
    await queued_for(bus, model, 2_000, 3)
    await take(bus, model, room=1)
    await ended_after(bus, model, 30_000)
    with pytest.raises(WaitTooLong, match="about 90 s") as refused:
        await put(bus, a_job(model, deadline_s=80))
    assert refused.value.retry_after == pytest.approx(10, rel=FIFTH)
    assert await put(bus, a_job(model, deadline_s=100)) == Accepted()


async def test_many_who_come_at_once_are_let_in_before_the_first_has_waited(bus: Bus, model: str) -> None:
    await waiting(bus, model, 3)
    await take(bus, model, room=1)
    await ended_after(bus, model, 30_000)
    assert await put(bus, a_job(model, deadline_s=80)) == Accepted()


async def test_who_would_be_next_is_let_in_whatever_is_measured(bus: Bus, model: str) -> None:
    await waiting(bus, model, 1)
    await take(bus, model)
    await ended_after(bus, model, 300_000)
    assert await put(bus, a_job(model, deadline_s=1)) == Accepted()


async def test_the_batch_lane_has_no_waiting_room(bus: Bus, model: str) -> None:
    await waiting(bus, model, 1)
    await take(bus, model)
    await ended_after(bus, model, 300_000)
    for _ in range(3):
        assert await put(bus, a_job(model, lane="bulk", deadline_s=1), limit=0) == Accepted()


async def test_the_pace_is_how_long_jobs_run_over_how_many_run_at_a_time(bus: Bus, model: str) -> None:
    await ended_after(bus, model, 8_000, 12_000)
    assert (await bus.depth(model)).pace_s == 0
    await waiting(bus, model, 4)
    await take(bus, model)
    assert (await bus.depth(model)).pace_s == pytest.approx(2.5)


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis whose memory is this module's to fill."""
    port = free_port()
    process = start_redis(tmp_path_factory.mktemp("memory"), port)
    yield f"redis://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
async def own_bus(own_redis: str) -> AsyncIterator[Bus]:
    opened = await Bus(own_redis).open()
    yield opened
    await opened.connection.command("CONFIG", "SET", "maxmemory", "0")
    await opened.close()


async def fill(bus: Bus, share: float) -> None:
    """Set the limit so that this share of it is used."""
    used = int((await bus.connection.command("INFO", "memory"))["used_memory"])
    await bus.connection.command("CONFIG", "SET", "maxmemory", int(used / share))


async def test_the_last_fifth_of_the_memory_is_for_the_answers_that_run(own_bus: Bus, model: str) -> None:
    bus = own_bus
    await waiting(bus, model, 1)
    (claim,) = await take(bus, model)
    await fill(bus, 0.9)
    for lane in ("jobs", "bulk"):
        with pytest.raises(MemoryLow) as refused:
            await put(bus, a_job(model, lane=lane), limit=0)
        assert refused.value.retry_after == pytest.approx(5, rel=FIFTH)
    await end(bus, claim, 0)
    assert await state(bus, claim.job) == "stop"
    await fill(bus, 0.5)
    assert await put(bus, a_job(model)) == Accepted()


async def test_a_request_that_is_in_already_is_answered_though_memory_is_low(own_bus: Bus, model: str) -> None:
    job = a_job(model)
    await put(own_bus, job, idem=IDEM)
    await fill(own_bus, 0.9)
    assert await put(own_bus, job) == Accepted()
    assert await put(own_bus, a_job(model), idem=IDEM) == Repeated(job.id)


# -- idempotency -------------------------------------------------------------------------------------------------------


async def asked(bus: Bus, model: str, **fields: object) -> Job:
    """The first request with the key."""
    job = a_job(model, **fields)
    assert await put(bus, job, idem=IDEM) == Accepted()
    return job


async def test_a_repeated_request_is_sent_to_the_first_while_it_runs_and_after(bus: Bus, model: str) -> None:
    job = await asked(bus, model)
    assert await put(bus, a_job(model), idem=IDEM) == Repeated(job.id)
    (claim,) = await take(bus, model)
    assert await put(bus, a_job(model), idem=IDEM) == Repeated(job.id)
    await end(bus, claim, 0)
    assert await put(bus, a_job(model), idem=IDEM) == Repeated(job.id)
    assert (await bus.depth(model)).waiting == 0


async def test_another_body_under_the_same_key_is_refused_while_the_first_answer_is_kept(bus: Bus, model: str) -> None:
    await asked(bus, model)
    (claim,) = await take(bus, model)
    for _ in range(2):
        with pytest.raises(IdempotencyMismatch):
            await put(bus, a_job(model), idem=("key", "another body"))
        await end(bus, claim, 0)
    assert await put(bus, a_job(model), idem=("another key", "another body")) == Accepted()


async def test_a_full_room_does_not_keep_a_repeated_request_from_its_answer(bus: Bus, model: str) -> None:
    job = await asked(bus, model)
    assert await put(bus, a_job(model), limit=1, idem=IDEM) == Repeated(job.id)


@pytest.mark.parametrize("how", ["cancelled", "dead", "deadline"])
async def test_a_first_request_that_was_not_answered_frees_its_key(bus: Bus, model: str, how: str) -> None:
    job = await asked(bus, model, deadline_s=0.001 if how == "deadline" else 600)
    match how:
        case "cancelled":
            await bus.cancel(model, [job.id])
        case "dead":
            await crashed(bus, model, 3)
        case "deadline":
            await bus.connection.command("WAIT", 1, 10)  # ten of Redis' own milliseconds
            await bus.expire(model)
    assert await state(bus, job) == how
    assert await bus.connection.command("EXISTS", keys.idem(model, "key")) == 0
    assert await put(bus, a_job(model), idem=("key", "another body")) == Accepted()


async def test_a_first_request_that_ended_with_an_error_frees_its_key(bus: Bus, model: str) -> None:
    await asked(bus, model)
    (claim,) = await take(bus, model)
    await end(bus, claim, 0, Reason.ERROR)
    assert await put(bus, a_job(model), idem=IDEM) == Accepted()


async def test_a_key_lives_as_long_as_the_answer_can_be_read(bus: Bus, model: str) -> None:
    job = await asked(bus, model)
    idem, log = keys.idem(model, "key"), keys.log(model, job.id)
    assert await bus.connection.command("PTTL", idem) > KEEP_MS  # while it waits and runs
    (claim,) = await take(bus, model)
    await end(bus, claim, 0)
    left = [await bus.connection.command("PEXPIRETIME", key) for key in (idem, log, keys.job(model, job.id))]
    assert max(left) - min(left) <= 1
    assert 0 < await bus.connection.command("PTTL", idem) <= KEEP_MS


async def test_a_key_whose_answer_is_gone_may_be_used_again(bus: Bus, model: str) -> None:
    job = await asked(bus, model)
    await bus.connection.command("DEL", keys.job(model, job.id))
    assert await put(bus, a_job(model), idem=("key", "another body")) == Accepted()


# -- places of an API key ----------------------------------------------------------------------------------------------


async def places(bus: Bus, key: str) -> list[bytes]:
    taken: list[bytes] = await bus.connection.command("ZRANGE", keys.running(key), 0, -1)
    return taken


async def test_a_key_has_so_many_places_over_all_servers_and_gets_them_back(bus: Bus, model: str) -> None:
    here, there, key = Allowance(bus), Allowance(bus), model
    async with here.place(key, 2, "a"), there.place(key, 2, "b"):
        with pytest.raises(TooManyRequests, match="2 requests running") as refused:
            async with here.place(key, 2, "c"):
                pass
        assert refused.value.retry_after
        async with here.place("another", 2, "c"):
            pass
    assert await places(bus, key) == []
    async with there.place(key, 2, "c"):
        assert await places(bus, key) == [b"c"]


async def test_a_place_is_given_back_when_the_request_fails(bus: Bus, model: str) -> None:
    allowance = Allowance(bus)
    with pytest.raises(ZeroDivisionError):
        async with allowance.place(model, 1, "a"):
            raise ZeroDivisionError
    async with allowance.place(model, 1, "b"):
        assert await places(bus, model) == [b"b"]


@pytest.mark.parametrize(("key", "limit"), [("", 1), ("k", 0)])
async def test_who_needs_no_key_or_has_no_limit_takes_no_place(bus: Bus, key: str, limit: int) -> None:
    allowance = Allowance(bus)
    async with allowance.place(key, limit, "a"), allowance.place(key, limit, "b"):
        assert await places(bus, key) == []


async def test_the_places_of_a_server_that_died_come_free_by_themselves(bus: Bus, model: str) -> None:
    running = keys.running(model)
    dead = Allowance(bus).place(model, 1, "a")
    await dead.__aenter__()  # its server is never heard of again
    past = int((await bus.connection.command("TIME"))[0]) * 1000 - 1
    assert await bus.connection.command("PTTL", running) <= keys.HOLD_MS
    await bus.connection.command("ZADD", running, past, "a")
    async with Allowance(bus).place(model, 1, "b"):
        assert await places(bus, model) == [b"b"]
    await dead.__aexit__(None, None, None)


async def test_a_server_that_lives_keeps_its_places(bus: Bus, model: str) -> None:
    async with Allowance(bus) as allowance, allowance.place(model, 1, "a"):
        about_to_end = int((await bus.connection.command("TIME"))[0]) * 1000
        await bus.connection.command("ZADD", keys.running(model), about_to_end, "a")
        while await bus.connection.command("ZSCORE", keys.running(model), "a") <= about_to_end:
            await asyncio.sleep(0.02)
        with pytest.raises(TooManyRequests):
            async with allowance.place(model, 1, "b"):
                pass


async def test_asking_twice_for_the_same_request_takes_one_place(bus: Bus, model: str) -> None:
    for word in (b"OK", b"SAME"):  # as when the first answer of Redis was lost
        assert await bus.connection.call("qc1_hold", keys.running(model), 1, keys.HOLD_MS, "a") == word
    assert await places(bus, model) == [b"a"]


async def test_a_second_reader_who_leaves_takes_no_place_with_him(bus: Bus, model: str) -> None:
    here, there = Allowance(bus), Allowance(bus)
    async with here.place(model, 1, "a"):
        for server in (here, there):
            async with server.place(model, 1, "a"):
                pass
        assert await places(bus, model) == [b"a"]
    assert await places(bus, model) == []
