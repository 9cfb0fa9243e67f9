"""An API server fails at each of its points. Its clients go to another one, as users do."""

from __future__ import annotations

import asyncio
import secrets
import signal

import pytest

from queuechat.protocol import Job
from tests.failpoints.calling import Caller
from tests.failpoints.cases import API, Case, find, params
from tests.failpoints.fleet import Fleet, Victim
from tests.failpoints.undisturbed import undisturbed

_STREAM = 200  # tokens: two beats


async def terminated_at_work(fleet: Fleet, victim: Victim, number: int) -> None:
    """SIGTERM when as many streams are running."""
    while (await fleet.bus.depth(fleet.model)).running < number:
        await asyncio.sleep(0.02)
    victim.command.send(signal.SIGTERM)


@pytest.mark.parametrize("case", params([case for case in API if case.by in ("", "drain")]))
async def test_a_client_has_its_answer_from_another_server(fleet: Fleet, caller: Caller, case: Case) -> None:
    async with fleet.api(case) as victim, asyncio.TaskGroup() as both:
        both.create_task(caller.rounds([victim.url, fleet.api_url], lambda: victim.hit, _STREAM))
        if case.by == "drain":
            both.create_task(terminated_at_work(fleet, victim, 3))
    assert victim.failed == victim.command.process.pid
    assert await victim.command.process.wait() == -signal.SIGKILL
    await fleet.all_ended(caller.ids)


@pytest.mark.parametrize("case", params([find("drain.api").acting("raise")]))
async def test_a_server_drains_even_if_something_is_raised(fleet: Fleet, caller: Caller, case: Case) -> None:
    async with fleet.api(case) as victim:
        async with asyncio.TaskGroup() as both:
            both.create_task(caller.rounds([victim.url], lambda: victim.hit, _STREAM))
            both.create_task(terminated_at_work(fleet, victim, 3))
        assert await victim.command.process.wait() == 0
    await fleet.all_ended(caller.ids)


_RESUMING = [case for case in API if case.by == "resume"]


@pytest.mark.parametrize("case", params((*_RESUMING, *(case.acting("raise") for case in _RESUMING))))
async def test_a_reader_goes_on_at_another_server_after_the_last_event_that_it_had(
    fleet: Fleet, caller: Caller, case: Case
) -> None:
    async with fleet.api(case) as victim:
        job = caller.job(_STREAM)
        async with caller.post(fleet.api_url, job, key=secrets.token_hex(8)) as response:
            id = response.headers["x-queuechat-request-id"]
        events = await caller.events(fleet.api_url, id, leave_after=5)
        assert await caller.events(victim.url, id, events[-1].id) == []
        assert victim.failed == victim.command.process.pid
        events += await caller.events(fleet.api_url, id, events[-1].id)
    (ids,) = await undisturbed([job])
    assert [event.kind for event in events if event.kind != "chunk"] == ["end"]
    assert [id for event in events for id in event.body.get("ids", [])] == ids
    assert (events[-1].body["reason"], events[-1].body["offset"]) == ("length", _STREAM)
    await fleet.check()


async def left_without_a_key(caller: Caller, victim: Victim, job: Job) -> str:
    """Ask, read the first word and leave."""
    async with caller.post(victim.url, job) as response:
        async for line in response.aiter_lines():
            if "content" in line:
                break
        return str(response.headers["x-queuechat-request-id"])


@pytest.mark.parametrize("case", params([find("gone.before"), find("gone.before").acting("raise")]))
async def test_what_nobody_reads_is_cancelled_even_when_nobody_was_told(
    fleet: Fleet, caller: Caller, case: Case
) -> None:
    async with fleet.api(case, QUEUECHAT_GRACE_S="1") as victim:
        id = await left_without_a_key(caller, victim, caller.job(4000))
        job = await fleet.ended(id)
        assert victim.failed == victim.command.process.pid
    assert job.state == "cancelled"
    assert job.tokens < 4000
    await fleet.check()
