"""Standing claims: what comes is granted by the call that brings it, once, whether or not the worker hears of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from queuechat import keys
from queuechat.bus import Accepted, Bus, Claims, Grant, Stand, Verdict
from tests.contract.test_transitions import a_job, end, item, put, say, take
from tests.servers import Server, opened, role_file


@pytest.fixture(autouse=True)
def for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, nothing is over that a test did not end."""
    monkeypatch.setattr(keys, "STANDING_MS", 3_600_000)


class Ears:
    """What is said on the channels of workers' engines."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def open(self, worker: str) -> None:
        await self._bus.listener.subscribe(keys.grants(worker), self._heard.put_nowait)

    async def next(self) -> bytes:
        async with asyncio.timeout(30):
            return await self._heard.get()

    async def grant(self) -> Grant:
        return Grant.decode(await self.next())

    @property
    def silent(self) -> bool:
        return self._heard.empty()


@pytest.fixture
async def ears(bus: Bus, model: str) -> Ears:
    ears = Ears(bus)
    await ears.open(f"{model}-w")
    return ears


async def stand(
    bus: Bus, model: str, nonce: str, *, room: int = 4, free: int = 4, before: str = "", heard: int = 0, who: str = "w"
) -> Claims:
    worker = f"{model}-{who}"
    before = f"{worker}/{before}" if before else ""
    return await bus.claim(model, worker, f"{worker}/{nonce}", room=room, stand=Stand(free, before, heard))


async def waiting(bus: Bus, model: str) -> int:
    return (await bus.depth(model)).waiting


async def test_a_job_is_granted_to_the_claim_that_stands_by_the_call_that_brings_it(
    bus: Bus, model: str, ears: Ears
) -> None:
    claims = await stand(bus, model, "1")
    assert (claims, claims.stands) == ([], True)
    job = a_job(model)
    await put(bus, job)
    assert await waiting(bus, model) == 0
    claim, left = await ears.grant()
    assert (claim.job, claim.nonce, claim.epoch, claim.offset) == (job, f"{model}-w/1", 1, 0)
    assert 0 < claim.left_ms <= job.deadline_s * 1000
    assert left == 3
    assert await say(bus, claim, item(claim, 0, [1], "", "a")) == [Verdict.OK]
    assert await end(bus, claim, 1) is Verdict.OK


async def test_a_grant_that_nobody_heard_of_comes_with_the_next_claim(bus: Bus, model: str, ears: Ears) -> None:
    await stand(bus, model, "1")
    jobs = [a_job(model), a_job(model)]
    for job in jobs:
        await put(bus, job)
    got = await stand(bus, model, "2", before="1", heard=1)
    assert [claim.job for claim in got] == jobs, "which of them was heard of, Redis does not know"
    assert {claim.nonce for claim in got} == {f"{model}-w/1"}
    assert [await say(bus, claim, item(claim, 0, [1], "", "a")) for claim in got] == [[Verdict.OK]] * 2


async def test_grants_that_were_all_heard_of_are_not_told_again(bus: Bus, model: str, ears: Ears) -> None:
    await stand(bus, model, "1")
    await put(bus, a_job(model))
    got = await stand(bus, model, "2", before="1", heard=1)
    assert (got, got.stands) == ([], True)


async def test_what_stood_before_is_granted_nothing_once_another_claim_was_made(
    bus: Bus, model: str, ears: Ears
) -> None:
    await stand(bus, model, "1")
    await stand(bus, model, "2", before="1")
    await put(bus, a_job(model))
    assert (await ears.grant()).claim.nonce == f"{model}-w/2"


async def test_a_claim_without_free_places_takes_back_what_stands(bus: Bus, model: str, ears: Ears) -> None:
    await stand(bus, model, "1")
    assert not (await stand(bus, model, "2", room=0, free=0, before="1")).stands
    await put(bus, a_job(model))
    assert await waiting(bus, model) == 1
    assert ears.silent


async def test_a_claim_whose_answer_was_lost_stands_no_more_when_it_is_asked_again(
    bus: Bus, model: str, ears: Ears
) -> None:
    await stand(bus, model, "1")
    job = a_job(model)
    await put(bus, job)
    worker = f"{model}-w"
    again = await bus.claim(model, worker, f"{worker}/1", room=4, again=True, stand=Stand(4))
    assert [claim.job for claim in again] == [job]
    assert not again.stands
    await put(bus, a_job(model))
    assert await waiting(bus, model) == 1


async def test_no_more_is_granted_than_there_was_room_for(bus: Bus, model: str, ears: Ears) -> None:
    await stand(bus, model, "1", room=2, free=8)
    await put(bus, a_job(model), a_job(model), a_job(model))
    assert [(await ears.grant()).left for _ in range(2)] == [1, 0]
    assert await waiting(bus, model) == 1


async def test_a_frozen_worker_is_granted_four_jobs_at_most(bus: Bus, model: str, ears: Ears) -> None:
    await stand(bus, model, "1", room=64, free=256)
    await put(bus, *(a_job(model) for _ in range(6)))
    assert await waiting(bus, model) == 2


async def test_what_a_claim_takes_at_once_counts_in_its_room(bus: Bus, model: str, ears: Ears) -> None:
    await put(bus, a_job(model))
    assert (await stand(bus, model, "1", room=2, free=2)).stands
    await put(bus, a_job(model), a_job(model))
    assert await waiting(bus, model) == 1


async def test_the_worker_with_most_free_places_is_granted_what_comes(bus: Bus, model: str, ears: Ears) -> None:
    for who, free in (("a", 3), ("b", 5), ("c", 4)):
        await ears.open(f"{model}-{who}")
        await stand(bus, model, "1", free=free, who=who)
    for _ in range(3):
        await put(bus, a_job(model))
    owners = [(await ears.grant()).claim.nonce.removeprefix(f"{model}-") for _ in range(3)]
    assert owners[0] == "b/1"
    assert sorted(owners[1:]) == ["b/1", "c/1"]


async def test_a_worker_that_is_not_connected_is_granted_nothing(bus: Bus, model: str) -> None:
    assert (await stand(bus, model, "1", who="gone")).stands
    await put(bus, a_job(model))
    assert await waiting(bus, model) == 1


async def test_what_comes_goes_past_a_worker_that_is_gone_and_nobody_else_is_asked_for(
    bus: Bus, model: str, ears: Ears
) -> None:
    for who, free in (("gone", 8), ("w", 4), ("unasked", 2)):
        await stand(bus, model, "1", free=free, who=who)
    await put(bus, a_job(model))
    assert (await ears.grant()).claim.nonce == f"{model}-w/1"
    kept = await bus.connection.command("HKEYS", keys.standing(model))
    assert {nonce.decode().removeprefix(f"{model}-") for nonce in kept} == {"w/1", "unasked/1"}


async def test_a_worker_that_was_not_heard_of_is_granted_nothing(bus: Bus, model: str, ears: Ears) -> None:
    await stand(bus, model, "1")
    past = f"{int(time.time() * 1000) - 1} 4 4 0"
    await bus.connection.command("HSET", keys.standing(model), f"{model}-w/1", past)
    await put(bus, a_job(model))
    assert await waiting(bus, model) == 1
    assert await bus.connection.command("EXISTS", keys.standing(model)) == 0


async def test_nothing_stands_while_something_waits(bus: Bus, model: str, ears: Ears) -> None:
    await put(bus, *(a_job(model) for _ in range(3)))
    claims = await stand(bus, model, "1", room=2, free=8)
    assert (len(claims), claims.stands) == (2, False)


@pytest.mark.parametrize("crashed", [False, True])
async def test_what_an_owner_has_lost_goes_before_what_comes(bus: Bus, model: str, ears: Ears, crashed: bool) -> None:
    lost = a_job(model)
    await put(bus, lost)
    await take(bus, model, "other")
    await stand(bus, model, "1")
    await bus.release(model, "other", crashed=crashed)
    await put(bus, a_job(model))
    assert ears.silent
    assert (await stand(bus, model, "2", room=1, before="1"))[0].job == lost


async def test_lines_of_batches_and_large_requests_wait_until_they_are_asked_for(
    bus: Bus, model: str, ears: Ears
) -> None:
    await stand(bus, model, "1")
    await put(bus, a_job(model, lane="bulk"))
    large = a_job(model, lane="jobs", stop=("x" * 300_000,))
    await put(bus, large)
    depth = await bus.depth(model)
    assert (depth.waiting, depth.bulk_waiting) == (1, 1)
    assert ears.silent


async def test_who_may_not_see_whether_a_worker_listens_enqueues_all_the_same(
    bus: Bus, redis_url: str, model: str, ears: Ears
) -> None:
    """The roles of an earlier release."""
    await bus.connection.command(
        "ACL", "SETUSER", "earlier", "on", ">x", "~*", "&*", "+@all", "-pubsub|numsub", "-xclaim"
    )
    await stand(bus, model, "1")
    front = await Bus(redis_url.replace("redis://", "redis://earlier:x@")).open()
    assert await put(front, a_job(model)) == Accepted()
    await front.close()
    assert await waiting(bus, model) == 1


@pytest.mark.parametrize("role", ["api", "background", "operator"])
async def test_a_role_that_may_enqueue_may_give_the_job_to_a_worker(tmp_path: Path, model: str, role: str) -> None:
    server = Server(tmp_path, "--aclfile", str(role_file(tmp_path)))
    try:
        urls = {one: f"redis://{one}:{one}@127.0.0.1:{server.port}/0" for one in ("deploy", "worker", role)}
        async with opened(urls["deploy"]), opened(urls["worker"]) as back, opened(urls[role]) as front:
            ears = Ears(back)
            await ears.open(f"{model}-w")
            await stand(back, model, "1")
            job = a_job(model)
            await put(front, job)
            assert (await ears.grant()).claim.job == job
    finally:
        server.kill()


async def test_a_worker_whose_name_has_dots_is_no_other_that_begins_alike(bus: Bus, model: str) -> None:
    """Its turns are its own: a claim of the one must not make the claims of the other come too late."""
    for turn in range(1, 4):
        await bus.claim(model, f"{model}-3.1-a", f"{model}-3.1-a/0.{turn}", room=1, turn=turn)
    job = a_job(model)
    await put(bus, job)
    other = f"{model}-3.1-b"
    assert [claim.job for claim in await bus.claim(model, other, f"{other}/0.1", room=1, turn=1)] == [job]
