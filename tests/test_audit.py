"""The audit finds what does not agree, and says nothing of a healthy queue, however busy it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuechat import keys
from queuechat.audit import audit, audit_all, models_with_keys
from queuechat.bus import Bus, Claim
from queuechat.letters import list_letters, redrive
from queuechat.protocol import Job, Reason
from tests.contract.steps import a_job, buried, crashed, end, put, say, take, waiting


async def faults(bus: Bus, model: str) -> list[str]:
    return [fault.what for fault in (await audit(bus, model)).faults]


async def running(bus: Bus, model: str, worker: str = "w") -> Claim:
    """A job that runs and has three tokens."""
    await waiting(bus, model, 1)
    (claim,) = await take(bus, model, worker)
    await say(bus, claim, 3)
    return claim


async def ended(bus: Bus, model: str) -> Job:
    claim = await running(bus, model)
    await end(bus, claim, 3)
    return claim.job


async def doctored(bus: Bus, *command: Any) -> None:
    await bus.connection.command(*command)


async def test_a_model_of_every_kind_of_job_has_no_faults(bus: Bus, model: str) -> None:
    await buried(bus, model, tokens=2)
    await buried(bus, model, tokens=1)
    await redrive(bus, (await list_letters(bus, [model]))[:1])
    await take(bus, model, "second life")
    await ended(bus, model)
    await running(bus, model, "drained")
    await running(bus, model)
    await bus.release(model, "drained", crashed=False)
    late, cancelled = a_job(model, deadline_s=0.001), a_job(model)
    await put(bus, late, cancelled)
    await bus.cancel(model, [cancelled.id])
    await put(bus, a_job(model, lane="bulk"))
    await waiting(bus, model, 2)
    report = await audit(bus, model)
    assert (report.faults, report.model) == ([], model)
    assert (report.jobs, report.usage) == (10, 3)


async def test_an_empty_model_has_no_faults(bus: Bus, model: str) -> None:
    report = await audit(bus, model)
    assert (report.jobs, report.usage, report.faults) == (0, 0, [])


async def test_a_queue_in_full_motion_has_no_faults_at_any_moment(bus: Bus, model: str) -> None:
    done = asyncio.Event()

    async def live() -> None:
        for turn in range(60):
            jobs = await waiting(bus, model, 2)
            claims = await take(bus, model, f"w{turn}")
            for claim in claims:
                await say(bus, claim, claim.offset + 2)
            if turn % 4 == 1:
                await bus.release(model, f"w{turn}", crashed=turn % 8 == 1)
                continue
            for claim in claims:
                await end(bus, claim, claim.offset + 2, Reason.LENGTH)
            if turn % 5 == 0:
                await bus.cancel(model, [job.id for job in jobs])
        done.set()

    living = asyncio.create_task(live())
    looks = 0
    while not done.is_set():
        assert await faults(bus, model) == []
        looks += 1
    await living
    assert looks > 3


async def test_a_running_job_whose_entry_is_gone_is_found(bus: Bus, model: str) -> None:
    await running(bus, model)
    await doctored(bus, "XTRIM", keys.jobs(model), "MAXLEN", 0)
    assert await faults(bus, model) == ["held by w, but not in jobs", "alive, but not in jobs"]


async def test_a_deadline_that_is_not_noted_is_found(bus: Bus, model: str) -> None:
    claim = await running(bus, model)
    await doctored(bus, "ZREM", keys.deadlines(model), claim.job.id)
    assert await faults(bus, model) == ["alive, but its deadline is not noted"]


async def test_a_running_job_that_expires_is_found(bus: Bus, model: str) -> None:
    claim = await running(bus, model)
    for kind in (keys.job, keys.log):
        await doctored(bus, "PEXPIRE", kind(model, claim.job.id), 600_000)
    assert await faults(bus, model) == ["alive, but its hash expires", "alive, but its log expires"]


async def test_an_owner_who_does_not_hold_the_entry_is_found(bus: Bus, model: str) -> None:
    await running(bus, model)
    await doctored(bus, "XCLAIM", keys.jobs(model), keys.GROUP, "other", 0, await entry(bus, model))
    (fault,) = await faults(bus, model)
    assert fault.startswith("owned by w/")
    assert fault.endswith("but held by other")


async def test_an_owner_whose_entry_nobody_holds_is_found(bus: Bus, model: str) -> None:
    await running(bus, model)
    await doctored(bus, "XACK", keys.jobs(model), keys.GROUP, await entry(bus, model))
    assert await faults(bus, model) == ["owned, but nobody holds its entry"]


async def test_a_log_that_has_lost_its_tail_is_found(bus: Bus, model: str) -> None:
    claim = await running(bus, model)
    await doctored(bus, "XTRIM", keys.log(model, claim.job.id), "MAXLEN", 0)
    assert await faults(bus, model) == ["is at 3, but its log at 0"]


async def test_a_log_of_an_ended_job_that_has_lost_its_end_is_found(bus: Bus, model: str) -> None:
    job = await ended(bus, model)
    await doctored(bus, "XDEL", keys.log(model, job.id), "3-1")
    assert await faults(bus, model) == ["ended at 3, but its log at 3-0"]


async def test_a_log_of_an_ended_job_that_is_gone_is_found(bus: Bus, model: str) -> None:
    job = await ended(bus, model)
    await doctored(bus, "DEL", keys.log(model, job.id))
    assert await faults(bus, model) == ["ended, but its log is gone or never expires"]


async def test_an_ended_job_that_leaked_is_found(bus: Bus, model: str) -> None:
    job = await ended(bus, model)
    for kind in (keys.job, keys.log):
        await doctored(bus, "PERSIST", kind(model, job.id))
    await doctored(bus, "ZADD", keys.deadlines(model), 1, job.id)
    await doctored(bus, "HSET", keys.job(model, job.id), "own", "w/1")
    assert await faults(bus, model) == [
        "ended, but its deadline is still noted",
        "ended, but its hash never expires",
        "ended, but its log is gone or never expires",
        "ended, but owned",
    ]


async def test_an_ended_job_that_still_waits_is_found(bus: Bus, model: str) -> None:
    (job,) = await waiting(bus, model, 1)
    await doctored(bus, "HSET", keys.job(model, job.id), "state", "stop")
    assert "ended, but still in jobs" in await faults(bus, model)


async def test_what_is_left_of_a_job_that_is_lost_is_found(bus: Bus, model: str) -> None:
    claim = await running(bus, model)
    await doctored(bus, "DEL", keys.job(model, claim.job.id))
    assert await faults(bus, model) == [
        "in jobs, but there is no such job",
        "a log without a job",
        "a deadline without a job",
    ]


async def test_a_job_that_was_billed_twice_is_found(bus: Bus, model: str) -> None:
    job = await ended(bus, model)
    await doctored(bus, "XADD", keys.usage(model), "*", "id", job.id)
    assert await faults(bus, model) == ["has 2 usage entries"]


async def test_faults_name_model_and_job(bus: Bus, model: str) -> None:
    await crashed(bus, model, 1)
    job = await ended(bus, model)
    await doctored(bus, "DEL", keys.log(model, job.id))
    (report,) = await audit_all(bus, [model])
    assert [(fault.model, fault.id) for fault in report.faults] == [(model, job.id)]


@pytest.mark.parametrize("name", ["plain", "org/model-7b:q4@main+x.y"])
async def test_models_that_nobody_announced_are_known_by_their_keys(bus: Bus, model: str, name: str) -> None:
    await waiting(bus, f"{model}-{name}", 1)
    assert f"{model}-{name}" in await models_with_keys(bus)
    assert (await audit(bus, f"{model}-{name}")).jobs == 1


async def entry(bus: Bus, model: str) -> str:
    """The only entry of the queue."""
    ((sid, _),) = await bus.connection.command("XRANGE", keys.jobs(model), "-", "+")
    return str(sid.decode())
