"""Whose turn it is: tenants take turns in the waiting room, and nobody is sent away because of another."""

from __future__ import annotations

import pytest

from queuechat import keys
from queuechat.bus import Accepted, Bus
from queuechat.errors import QueueFull
from queuechat.protocol import Job
from tests.contract.steps import a_job, buried, end, put, take


async def come(bus: Bus, model: str, tenants: str, **fields: object) -> list[Job]:
    """A job of each of these tenants (a letter is one), in this order."""
    jobs = [a_job(model, tenant=tenant, **fields) for tenant in tenants]
    for job in jobs:
        await put(bus, job)
    return jobs


async def taken(bus: Bus, model: str, count: int) -> str:
    """Whose jobs are taken next, one claim each."""
    return "".join([(await take(bus, model, room=1))[0].job.tenant for _ in range(count)])


async def test_a_tenant_that_is_alone_is_served_in_the_order_in_which_it_came(bus: Bus, model: str) -> None:
    jobs = await come(bus, model, "aaaaaaaaaaaa")
    claims = [*await take(bus, model, room=5), *await take(bus, model, room=20)]
    assert [claim.job.id for claim in claims] == [job.id for job in jobs]


async def test_one_who_comes_after_a_crowd_of_another_is_next_or_next_but_one(bus: Bus, model: str) -> None:
    await come(bus, model, "a" * 20)
    assert await taken(bus, model, 3) == "aaa"
    await come(bus, model, "b")
    assert "b" in await taken(bus, model, 2)


@pytest.mark.parametrize("lane", ["jobs", "bulk"])
async def test_tenants_take_turns_and_each_keeps_its_own_order(bus: Bus, model: str, lane: str) -> None:
    jobs = await come(bus, model, "aaaabbc", lane=lane)
    claims = await take(bus, model, room=7)
    assert "".join(claim.job.tenant for claim in claims) == "abcabaa"
    for tenant in "abc":
        own = [job.id for job in jobs if job.tenant == tenant]
        assert [claim.job.id for claim in claims if claim.job.tenant == tenant] == own


async def test_who_asks_one_by_one_gets_no_more_turns_than_who_waits_with_many(bus: Bus, model: str) -> None:
    """After each of its turns `a` waits for nothing for a moment; that alone makes it nobody's junior."""
    await come(bus, model, "bbbbbbbb")
    order = ""
    for _ in range(4):
        await come(bus, model, "a")
        order += await taken(bus, model, 2)
    assert sorted(order) == list("aaaabbbb")


async def test_when_nobody_waits_all_turns_are_forgotten(bus: Bus, model: str) -> None:
    await come(bus, model, "aaaaab")
    await take(bus, model, room=6)
    assert await bus.claim(model, "w", "w/more", room=1) == []
    assert not [name for name in await bus.find_keys(f"qc:{{{model}}}:*") if ":turns" in name or ":of:" in name]
    await come(bus, model, "ab")
    assert await taken(bus, model, 2) == "ab"


async def test_places_tell_the_order_in_which_jobs_are_taken(bus: Bus, model: str) -> None:
    jobs = await come(bus, model, "aaaabb")
    assert await taken(bus, model, 3) == "aba"
    jobs += await come(bus, model, "cCcZ")
    sights = await bus.watch(model, [job.id for job in jobs])
    told = {sight.place: job.id for sight, job in zip(sights, jobs, strict=True) if sight.place}
    assert sorted(told) == list(range(1, 8))
    claims = await take(bus, model, room=10)
    assert [claim.job.id for claim in claims] == [told[place] for place in sorted(told)]


async def test_a_cancelled_job_leaves_the_room_and_costs_no_turn(bus: Bus, model: str) -> None:
    jobs = await come(bus, model, "aaaaabb")
    await bus.cancel(model, [job.id for job in jobs[:4]])
    assert await bus.connection.command("ZCARD", f"{keys.jobs(model)}:of:a") == 1
    assert await taken(bus, model, 3) == "abb"


async def test_a_job_that_was_too_late_costs_no_turn_and_takes_no_place(bus: Bus, model: str) -> None:
    (late, _) = await come(bus, model, "aa")
    await come(bus, model, "b")
    await bus.connection.command("HSET", keys.job(model, late.id), "deadline", 1)
    assert [claim.job.tenant for claim in await take(bus, model, room=2)] == ["a", "b"]


async def test_a_redriven_job_waits_in_the_line_of_its_tenant(bus: Bus, model: str) -> None:
    job = await buried(bus, model)
    letter = await bus.connection.command("HGET", keys.job(model, job.id), "letter")
    assert await bus.connection.call("qc1_redrive", keys.jobs(model), letter, job.id) == [b"OK"]
    assert [sight.place for sight in await bus.watch(model, [job.id])] == [1]
    assert [claim.job.id for claim in await take(bus, model)] == [job.id]


async def test_what_an_earlier_release_has_queued_is_lined_up_as_it_came(bus: Bus, model: str) -> None:
    jobs = await come(bus, model, "aab")
    (running,) = await take(bus, model, room=1)
    stream = keys.jobs(model)
    lost = await bus.connection.command("XADD", stream, "*", "id", "of-a-job-that-is-gone")
    await bus.connection.command("DEL", f"{stream}:turns", f"{stream}:of:a", f"{stream}:of:b")
    await come(bus, model, "b")
    assert await taken(bus, model, 3) == "abb"
    assert running.job.id == jobs[0].id
    assert await bus.connection.command("XRANGE", stream, lost, lost) in ([], {})


async def test_a_full_room_has_a_place_for_who_waits_with_less_than_its_share(bus: Bus, model: str) -> None:
    for _ in range(6):
        await put(bus, a_job(model, tenant="noisy"), limit=6)
    for _ in range(3):
        with pytest.raises(QueueFull):
            await put(bus, a_job(model, tenant="noisy"), limit=6)
        assert await put(bus, a_job(model, tenant="quiet"), limit=6) == Accepted()
    with pytest.raises(QueueFull):  # three of six is the share of one of two
        await put(bus, a_job(model, tenant="quiet"), limit=6)
    (claim,) = await take(bus, model, room=1)
    await end(bus, claim, 0)
    with pytest.raises(QueueFull):
        await put(bus, a_job(model, tenant="noisy"), limit=6)


async def test_a_room_is_never_more_than_twice_as_full_as_it_may_be(bus: Bus, model: str) -> None:
    for _ in range(4):
        await put(bus, a_job(model, tenant="first"), limit=4)
    refused = 0
    for number in range(20):
        try:
            await put(bus, a_job(model, tenant=f"t{number}"), limit=4)
        except QueueFull:
            refused += 1
    assert (await bus.depth(model)).waiting <= 8
    assert refused >= 16
