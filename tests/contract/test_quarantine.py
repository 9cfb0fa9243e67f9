"""Jobs that kill their workers: who is suspected, how a suspect is tried, and that company is not blamed."""

from __future__ import annotations

import pytest

from queuechat import keys
from queuechat.bus import Bus, Claim
from queuechat.protocol import Job
from tests.contract.steps import a_job, crashed, die, put, say, state, take, waiting


async def a_suspect(bus: Bus, model: str) -> Job:
    """A job that has lost two workers in a row and waits for a third."""
    (job,) = await waiting(bus, model, 1)
    await crashed(bus, model, keys.SUSPECT)
    return job


def ids(claims: list[Claim]) -> list[str]:
    return [claim.job.id for claim in claims]


async def test_two_crashes_in_a_row_make_a_suspect(bus: Bus, model: str) -> None:
    await waiting(bus, model, 1)
    seen = []
    for _ in range(3):
        (claim,) = await take(bus, model)
        seen.append((claim.crashes, claim.suspect))
        await die(bus, model)
    assert seen == [(0, False), (1, False), (2, True)]


async def test_a_suspect_is_kept_from_a_worker_whose_jobs_have_not_all_proven_themselves(bus: Bus, model: str) -> None:
    job = await a_suspect(bus, model)
    await waiting(bus, model, 1)
    claims = await take(bus, model, fresh=1)
    assert (ids(claims), claims.held_back) == ([], True)
    assert ids(await take(bus, model, fresh=0)) == [job.id]


async def test_a_suspect_is_given_alone_after_what_others_left_and_before_what_is_new(bus: Bus, model: str) -> None:
    (company,) = await waiting(bus, model, 1)
    await take(bus, model, "drained")
    await bus.release(model, "drained", crashed=False)
    (suspect,) = await waiting(bus, model, 1)
    await take(bus, model, "company", room=1)
    await crashed(bus, model, keys.SUSPECT)
    await bus.release(model, "company", crashed=False)
    (new,) = await waiting(bus, model, 1)
    first = await take(bus, model, "first")
    assert (ids(first), first.held_back) == ([company.id], True)
    second = await take(bus, model, "second")
    assert (ids(second), second.held_back) == ([suspect.id], True)
    assert ids(await take(bus, model, "third")) == [new.id]


async def test_a_suspect_that_has_proven_itself_is_none_any_more_when_it_is_handed_on(bus: Bus, model: str) -> None:
    await a_suspect(bus, model)
    (claim,) = await take(bus, model, "c")
    await say(bus, claim, keys.PROVEN)
    await bus.release(model, "c", crashed=False)
    (again,) = await take(bus, model, "d", fresh=1)
    assert (again.crashes, again.suspect) == (0, False)


async def test_two_suspects_are_tried_by_two_workers(bus: Bus, model: str) -> None:
    jobs = await waiting(bus, model, 2)
    for _ in range(keys.SUSPECT):
        for worker in ("a", "b"):
            await take(bus, model, worker, room=1)
        for worker in ("a", "b"):
            await die(bus, model, worker)
    tried = [await take(bus, model, worker) for worker in ("c", "d")]
    assert [len(claims) for claims in tried] == [1, 1]
    assert {claims[0].job.id for claims in tried} == {job.id for job in jobs}


async def test_a_worker_that_dies_by_itself_with_one_suspect_has_named_the_culprit(bus: Bus, model: str) -> None:
    job = await a_suspect(bus, model)
    await take(bus, model)
    await die(bus, model)
    assert await state(bus, job) == "dead"
    assert await take(bus, model) == []


async def test_the_first_two_deaths_by_itself_condemn_nobody(bus: Bus, model: str) -> None:
    (job,) = await waiting(bus, model, 1)
    for _ in range(keys.SUSPECT):
        await take(bus, model)
        await die(bus, model)
    assert await state(bus, job) == "running"
    assert ids(await take(bus, model)) == [job.id]


async def test_a_worker_that_was_killed_accuses_nobody(bus: Bus, model: str) -> None:
    await waiting(bus, model, 1)
    for _ in range(10):
        await take(bus, model)
        await die(bus, model, by_itself=False)
    assert [(claim.crashes, claim.suspect) for claim in await take(bus, model)] == [(0, False)]


async def test_even_kills_that_are_nobodys_fault_do_not_go_on_for_ever(bus: Bus, model: str) -> None:
    (job,) = await waiting(bus, model, 1)
    await bus.connection.command("HSET", keys.job(model, job.id), "kills", 98)
    for kills in (99, 100):
        await take(bus, model)
        await die(bus, model, by_itself=False)
        assert await state(bus, job) == ("running" if kills < 100 else "dead")


async def test_company_that_has_proven_itself_is_not_blamed(bus: Bus, model: str) -> None:
    suspect = await a_suspect(bus, model)
    (company,) = await waiting(bus, model, 1)
    await take(bus, model, "other")  # the suspect goes there first, and comes back
    (steady,) = await take(bus, model)
    await say(bus, steady, keys.PROVEN)
    await bus.release(model, "other", crashed=False)
    assert ids(await take(bus, model, fresh=0)) == [suspect.id]
    await die(bus, model)
    assert [await state(bus, job) for job in (suspect, company)] == ["dead", "running"]
    (again,) = await take(bus, model)
    assert (again.job, again.suspect, again.offset) == (company, False, keys.PROVEN)


async def test_nobody_is_condemned_when_two_may_have_done_it(bus: Bus, model: str) -> None:
    suspect = await a_suspect(bus, model)
    await take(bus, model)
    await waiting(bus, model, 1)
    await take(bus, model)  # a worker that does not keep to the rule
    await die(bus, model)
    assert await state(bus, suspect) == "running"


@pytest.mark.parametrize(("tokens", "crashes"), [(keys.PROVEN, 1), (keys.PROVEN - 1, 2)])
async def test_only_enough_progress_clears_a_job_of_earlier_crashes(
    bus: Bus, model: str, tokens: int, crashes: int
) -> None:
    await waiting(bus, model, 1)
    await crashed(bus, model, 1)
    (claim,) = await take(bus, model)
    await say(bus, claim, tokens)
    await die(bus, model)
    assert [one.crashes for one in await take(bus, model)] == [crashes]


async def test_a_suspect_that_is_not_wanted_any_more_ends_without_being_tried(bus: Bus, model: str) -> None:
    job = await a_suspect(bus, model)
    assert await bus.cancel(model, [job.id]) == ["OK"]
    (other,) = await waiting(bus, model, 1)
    claims = await take(bus, model, fresh=1)
    assert (ids(claims), claims.held_back) == ([other.id], False)


async def test_an_owner_of_whom_nobody_hears_accuses_nobody(bus: Bus, model: str) -> None:
    await waiting(bus, model, 1)
    await crashed(bus, model, keys.SUSPECT - 1)
    await take(bus, model, "silent")
    for sid, _ in await bus.connection.command("XRANGE", keys.jobs(model), "-", "+"):
        await bus.connection.command("XCLAIM", keys.jobs(model), keys.GROUP, "silent", 0, sid, "IDLE", 6000)
    (heir,) = await take(bus, model, fresh=1)
    assert (heir.crashes, heir.suspect) == (keys.SUSPECT - 1, False)


async def test_what_is_not_suspected_passes_a_suspect_that_waits(bus: Bus, model: str) -> None:
    suspect = await a_suspect(bus, model)
    (company,) = await waiting(bus, model, 1)
    await take(bus, model, "other")
    await take(bus, model, "drained")
    for worker in ("other", "drained"):
        await bus.release(model, worker, crashed=False)
    await waiting(bus, model, 1)
    claims = await take(bus, model)
    assert (ids(claims), claims.held_back) == ([company.id], True)
    assert ids(await take(bus, model, fresh=0)) == [suspect.id]


async def test_a_suspect_whose_grant_was_lost_on_the_way_is_granted_again_without_company(bus: Bus, model: str) -> None:
    job = await a_suspect(bus, model)
    await bus.claim(model, "w", "w/1", room=8)
    await put(bus, a_job(model))
    again = await bus.claim(model, "w", "w/1", room=8, again=True)
    assert (ids(again), again.held_back) == ([job.id], True)
