"""Processes that are stopped and go on later, and loops in which something is raised: nobody limps on in silence."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from queuechat.timeline import find_job, list_jobs
from tests.failpoints.asking import Asker
from tests.failpoints.calling import Caller
from tests.failpoints.cases import API, Case, find, params
from tests.failpoints.fleet import Fleet, Victim, until


async def at_work_again(fleet: Fleet, asker: Asker, victim: Victim) -> None:
    """It takes jobs as before, and with the same child."""
    working = asyncio.create_task(fleet.until_at_work(victim.id))
    await asker.rounds(working.done)
    card = await fleet.card(victim.id)
    assert (card.pid, card.restarts) == (victim.child, 0)


@pytest.mark.parametrize("case", params([find(point).acting("stop") for point in ("publish.before", "finish.before")]))
async def test_a_child_that_was_stopped_finds_its_jobs_taken_and_goes_on_with_others(
    fleet: Fleet, asker: Asker, case: Case
) -> None:
    async with fleet.worker(case) as victim:
        await asker.rounds(lambda: victim.hit)
        assert victim.failed == victim.child
        os.kill(victim.child, signal.SIGCONT)
        await at_work_again(fleet, asker, victim)
        await fleet.check()
    await fleet.check()


@pytest.mark.parametrize("case", params([find("renew.before").acting("stop")]))
async def test_a_supervisor_that_was_stopped_finds_its_leases_lapsed_and_goes_on(
    fleet: Fleet, asker: Asker, case: Case
) -> None:
    async with fleet.worker(case) as victim:
        answers = asyncio.create_task(asker.round(3, 1500))
        await until(lambda: victim.hit)
        assert victim.failed == victim.command.process.pid
        while all(job.epoch == 1 for job in await list_jobs(fleet.bus, [fleet.model])):
            assert not answers.done()
            await asyncio.sleep(0.05)
        victim.command.send(signal.SIGCONT)
        await answers
        await at_work_again(fleet, asker, victim)
    await fleet.check()


@pytest.mark.parametrize(
    "case", params([find(p).acting("raise") for p in ("renew.before", "renew.after", "announce.before")])
)
async def test_a_beat_in_which_something_was_raised_is_not_the_last(fleet: Fleet, asker: Asker, case: Case) -> None:
    async with fleet.worker(case) as victim:
        await asker.rounds(lambda: victim.hit)
        before = len(asker.asked)
        await asker.round(6, 700)  # longer than a lease
        jobs = [await find_job(fleet.bus, [fleet.model], id) for id in asker.asked[before:]]
        assert [job.epoch for job in jobs if job] == [1] * 6
        assert victim.id in {job.worker for job in jobs if job}
        assert (await fleet.card(victim.id)).restarts == 0
        assert "RuntimeError: a failpoint" in victim.command.log.read_text()
    await fleet.check()


@pytest.mark.parametrize("case", params([find("watchdog.before").acting("raise")]))
async def test_a_child_that_nobody_watches_any_more_is_replaced(fleet: Fleet, asker: Asker, case: Case) -> None:
    async with fleet.worker(case) as victim:
        await asker.rounds(lambda: victim.hit)
        heir = await fleet.new_worker(victim.command, after=victim.child)
        assert (heir.id, heir.restarts) == (victim.id, 1)
        await asker.round(6, 60)
        assert "RuntimeError: a failpoint" in victim.command.log.read_text()
    await fleet.check()


_RAISING = [case.acting("raise") for case in API if not case.by]


@pytest.mark.parametrize("case", params(_RAISING))
async def test_a_server_in_which_something_was_raised_serves_on(fleet: Fleet, caller: Caller, case: Case) -> None:
    async with fleet.api(case, QUEUECHAT_GRACE_S="3") as victim:
        await caller.rounds([victim.url, fleet.api_url], lambda: victim.hit, 200)
        await caller.ask([victim.url], 600)  # longer than the grace time of jobs that nobody watches
        assert "RuntimeError: a failpoint" in victim.command.log.read_text()
        assert await victim.command.stop() == 0
    await fleet.all_ended(caller.ids)
