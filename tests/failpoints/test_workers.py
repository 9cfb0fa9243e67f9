"""A worker fails, in its engine child or in its supervisor, at each of their points. Another one is healthy."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.failpoints.asking import Asker
from tests.failpoints.cases import CHILD, SUPERVISOR, Case, find, params
from tests.failpoints.fleet import Fleet, Victim, is_running, kill, until

_LONG = 150  # tokens of a job that is still running when something is done to its worker


async def bring_there(fleet: Fleet, victim: Victim) -> None:
    """Do what makes the victim pass its point, when jobs alone do not."""
    if not victim.case.by:
        return
    if victim.case.by == "takeover":
        healthy = await fleet.healthy()
        await fleet.until_at_work(healthy.id)
        kill(healthy.pid)
        return
    await fleet.until_at_work(victim.id)
    if victim.case.by == "death":
        kill(victim.child)
    else:
        victim.command.send(signal.SIGTERM)


async def ask_until_hit(fleet: Fleet, asker: Asker, victim: Victim) -> None:
    """Every answer is as if nothing had been, the one during which it happened included."""
    async with asyncio.TaskGroup() as both:
        both.create_task(asker.rounds(lambda: victim.hit, tokens=_LONG if victim.case.by else 60))
        both.create_task(bring_there(fleet, victim))


_OTHERWISE = (
    *(find(point).acting("abort") for point in ("step.after", "publish.before")),
    *(case.acting("raise") for case in CHILD if case.point != "log.before"),  # that fails the request, as it should
    find("step.after").acting("hang"),
)


@pytest.mark.parametrize("case", params((*CHILD, *_OTHERWISE)))
async def test_answers_survive_an_engine_child_that_fails_here(fleet: Fleet, asker: Asker, case: Case) -> None:
    patience = {"QUEUECHAT_HANG_S": "2"} if case.action == "hang" else {}
    async with fleet.worker(case, **patience) as victim:
        await ask_until_hit(fleet, asker, victim)
        assert victim.failed == victim.child
        assert case.idle or await fleet.taken_again(asker.asked)
        await fleet.check()
        if case.by == "drain":
            assert await victim.command.process.wait() == 0
        else:
            heir = await fleet.new_worker(victim.command, after=victim.child)
            assert (heir.id, heir.restarts) == (victim.id, 1)
            await asker.round(6, 20)
    await fleet.check()


_ENDING = ("spawn.after", "release.before", "release.after", "drain.supervisor", "goodbye.before")


@pytest.mark.parametrize("case", params((*SUPERVISOR, *(find(point).acting("raise") for point in _ENDING))))
async def test_answers_survive_a_supervisor_that_ends_here(fleet: Fleet, asker: Asker, case: Case) -> None:
    async with fleet.worker(case) as victim:
        await ask_until_hit(fleet, asker, victim)
        assert victim.failed == victim.command.process.pid
        assert await victim.command.process.wait() == (-signal.SIGKILL if case.action == "kill" else 1)
        await until(lambda: not is_running(victim.child))
        await fleet.until_gone(victim.id)
        assert case.idle or await fleet.taken_again(asker.asked)
    await fleet.check()
