"""A request that is enqueued again when some of its jobs have ended, and been forgotten, and others have not."""

from __future__ import annotations

from queuechat import keys
from queuechat.bus import Bus, Claim, Verdict
from queuechat.errors import QueueFull
from queuechat.protocol import Job, Reason, choice_id
from tests.contract.steps import a_job, end, events, put, say, state, take


def choices(model: str, count: int = 2) -> list[Job]:
    first = a_job(model)
    return [first, *(Job(choice_id(first.id, k), model, prompt="hi") for k in range(1, count))]


async def forget(bus: Bus, job: Job) -> None:
    """As time does, some minutes after the end."""
    await bus.connection.insist([("DEL", keys.job(job.model, job.id)), ("DEL", keys.log(job.model, job.id))])


async def one_has_ended(bus: Bus, jobs: list[Job]) -> Claim:
    """The first choice is answered and forgotten; the second runs, and has said two tokens."""
    await put(bus, *jobs)
    ended, running = await take(bus, jobs[0].model)
    await end(bus, ended, 0)
    await say(bus, running, 2)
    await forget(bus, jobs[0])
    return running


async def test_a_choice_that_runs_is_left_alone_though_the_first_was_forgotten(bus: Bus, model: str) -> None:
    jobs = choices(model)
    running = await one_has_ended(bus, jobs)
    await put(bus, *jobs)
    assert [await state(bus, job) for job in jobs] == ["waiting", "running"]
    assert await bus.connection.command("XLEN", keys.jobs(model)) == 2
    assert await say(bus, running, 4, since=2) is Verdict.OK
    assert await end(bus, running, 4) is Verdict.OK


async def test_only_what_is_new_takes_a_place_in_the_waiting_room(bus: Bus, model: str) -> None:
    jobs = choices(model, 3)
    await put(bus, *jobs, limit=3)
    await bus.cancel(model, [jobs[0].id])
    await forget(bus, jobs[0])
    await put(bus, *jobs, limit=3)
    assert (await bus.depth(model)).waiting == 3


async def test_what_is_new_is_refused_where_there_is_no_place(bus: Bus, model: str) -> None:
    jobs = choices(model)
    await one_has_ended(bus, jobs)
    await put(bus, a_job(model), limit=1)
    try:
        await put(bus, *jobs, limit=1)
    except QueueFull:
        assert await state(bus, jobs[0]) == ""
        return
    raise AssertionError("a full room took one more")


async def test_a_log_that_was_left_over_is_not_gone_on_from(bus: Bus, model: str) -> None:
    job = a_job(model)
    await put(bus, job)
    (claim,) = await take(bus, model)
    await say(bus, claim, 3)
    await end(bus, claim, 3)
    await bus.connection.command("DEL", keys.job(model, job.id))
    await put(bus, job)
    (again,) = await take(bus, model)
    assert await say(bus, again, 2) is Verdict.OK
    assert await end(bus, again, 2) is Verdict.OK
    assert [event.offset for event in await events(bus, job)] == [0, 2]


async def test_a_log_that_is_not_its_jobs_keeps_nobody_else_from_being_heard(bus: Bus, model: str) -> None:
    await put(bus, a_job(model), a_job(model))
    broken, sound = await take(bus, model)
    await bus.connection.command("XADD", keys.log(model, broken.job.id), "9-0", "c", "1{}", "h", "x")
    assert await say(bus, broken, 2) is Verdict.DIVERGED
    assert await say(bus, sound, 2) is Verdict.OK
    assert await end(bus, broken, 0, Reason.ERROR) is Verdict.OK
    (event,) = await events(bus, broken.job)
    assert event.offset == 0


async def test_what_is_kept_for_longer_is_known_for_as_long_without_its_request(bus: Bus, model: str) -> None:
    job, day_ms = a_job(model), 86_400_000
    await bus.enqueue([job], limit=0, grace_s=0, keep_s=day_ms / 1000)
    (claim,) = await take(bus, model)
    await end(bus, claim, 0)
    names = [keys.job(model, job.id), keys.log(model, job.id)]
    assert all([await bus.connection.command("PTTL", name) > day_ms - 60_000 for name in names])
    assert not await bus.connection.command("HEXISTS", names[0], "job")
    await bus.let_go(model, [job.id])
    assert all([0 < await bus.connection.command("PTTL", name) <= keys.LOG_S * 1000 for name in names])


async def test_what_still_runs_when_it_is_let_go_is_kept_as_usual_after_its_end(bus: Bus, model: str) -> None:
    job = a_job(model)
    await bus.enqueue([job], limit=0, grace_s=0, keep_s=86_400)
    (claim,) = await take(bus, model)
    await bus.let_go(model, [job.id, "nobody"])
    assert await bus.connection.command("PTTL", keys.job(model, job.id)) == -1
    await end(bus, claim, 0)
    assert await bus.connection.command("PTTL", keys.log(model, job.id)) <= keys.LOG_S * 1000
