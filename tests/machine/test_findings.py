"""What the machine (and the making of it) found wrong once: each smallest case."""

from __future__ import annotations

import time

from queuechat import keys
from queuechat.bus import Bus, Repeated, Stand
from queuechat.letters import Letter, list_letters, redrive
from queuechat.protocol import Job, choice_id, new_id
from tests.contract.test_transitions import a_job, put, take


async def set_idle(bus: Bus, job: Job, worker: str, idle_ms: int) -> None:
    sid = await bus.connection.command("HGET", keys.job(job.model, job.id), "sid")
    command = ("XCLAIM", keys.jobs(job.model), keys.GROUP, worker, 0, sid, "IDLE", idle_ms)
    await bus.connection.insist([command])


async def test_a_bulk_job_of_a_lost_answer_is_granted_again_though_jobs_have_come_since(bus: Bus, model: str) -> None:
    job, bulk, later = a_job(model), a_job(model, lane="bulk"), a_job(model)
    await put(bus, job)
    await put(bus, bulk)
    lost = await bus.claim(model, "w", "w/1", room=2, bulk_room=2)
    assert [claim.job for claim in lost] == [job, bulk]
    await put(bus, later)
    again = await bus.claim(model, "w", "w/1", room=2, bulk_room=2, again=True)
    assert bulk in [claim.job for claim in again]


async def test_a_bulk_job_of_a_lost_answer_is_granted_again_though_a_suspect_waits(bus: Bus, model: str) -> None:
    suspect, bulk = a_job(model), a_job(model, lane="bulk")
    await put(bus, suspect)
    for worker in ("a", "b"):
        await take(bus, model, worker)
        await bus.release(model, worker, crashed=True, by_itself=True)
    (held,) = await take(bus, model, "c")
    await put(bus, bulk)
    assert [claim.job for claim in await bus.claim(model, "w", "w/1", room=2, bulk_room=2)] == [bulk]
    await bus.release(model, "c", crashed=False)
    again = await bus.claim(model, "w", "w/1", room=2, bulk_room=2, again=True)
    assert [claim.job for claim in again] == [bulk], f"and not {held.job.id}, which is a suspect"


async def test_a_bulk_suspect_of_a_lost_answer_is_granted_again_alone(bus: Bus, model: str) -> None:
    suspect, later = a_job(model, lane="bulk"), a_job(model)
    await put(bus, suspect)
    for worker in ("a", "b"):
        await take(bus, model, worker)
        await bus.release(model, worker, crashed=True, by_itself=True)
    lost = await bus.claim(model, "w", "w/1", room=2, bulk_room=2)
    assert [claim.job for claim in lost] == [suspect]
    await put(bus, later)
    again = await bus.claim(model, "w", "w/1", room=2, bulk_room=2, again=True)
    assert [claim.job for claim in again] == [suspect]


async def test_a_lost_answer_that_is_asked_for_again_after_a_lease_grants_each_job_once(bus: Bus, model: str) -> None:
    job = a_job(model)
    await put(bus, job)
    await bus.claim(model, "w", "w/1", room=2)
    await set_idle(bus, job, "w", 450)
    again = await bus.claim(model, "w", "w/1", room=2, again=True, lease_ms=400)
    assert [(claim.job, claim.epoch, claim.crashes) for claim in again] == [(job, 1, 0)]


async def test_the_end_of_an_earlier_request_leaves_a_later_one_its_idempotency_key(bus: Bus, model: str) -> None:
    first, second, third = a_job(model), a_job(model), a_job(model)
    await bus.enqueue([first], limit=9, grace_s=0, idem=("key", "body"))
    letters = await die(bus, model)
    await bus.enqueue([second], limit=9, grace_s=0, idem=("key", "body"))
    await redrive(bus, letters)
    await bus.cancel(model, [first.id])
    assert await bus.enqueue([third], limit=9, grace_s=0, idem=("key", "body")) == Repeated(second.id)


async def test_the_end_of_one_choice_leaves_the_request_its_idempotency_key(bus: Bus, model: str) -> None:
    first = a_job(model)
    other = Job(choice_id(first.id, 1), model, prompt="hi")
    await bus.enqueue([first, other], limit=9, grace_s=0, idem=("key", "body"))
    await bus.cancel(model, [other.id])
    assert await bus.enqueue([a_job(model)], limit=9, grace_s=0, idem=("key", "body")) == Repeated(first.id)


async def die(bus: Bus, model: str) -> list[Letter]:
    for number in range(5):  # a lone suspect is dead with the third
        await take(bus, model, f"w{number}", nonce=str(time.monotonic_ns()))
        await bus.release(model, f"w{number}", crashed=True, by_itself=True)
    return await list_letters(bus, [model])


async def test_a_redrive_that_comes_late_leaves_no_letter_of_a_job_that_is_alive(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    old = await die(bus, model)
    assert await redrive(bus, old) == ["OK"]
    assert len(await die(bus, model)) == 1
    await redrive(bus, old)
    letters, depth = await list_letters(bus, [model]), await bus.depth(model)
    assert len(letters) + depth.waiting == 1


async def test_what_was_handed_back_is_not_hidden_by_leases_that_do_not_count(bus: Bus, model: str) -> None:
    silent, handed = a_job(model), a_job(model)
    await put(bus, silent)
    await take(bus, model, "s")
    await put(bus, handed)
    await take(bus, model, "h")
    await bus.release(model, "h", crashed=False)
    await set_idle(bus, silent, "s", 3_600_000)
    now = int((await bus.connection.command("TIME"))[0]) * 1000
    await bus.connection.command("HSET", keys.pulse(model), "at", now, "resumed", now)
    assert [claim.job for claim in await bus.claim(model, "w", "w/1", room=1)] == [handed]


async def test_no_more_is_granted_to_a_claim_that_stands_than_its_worker_has_places(bus: Bus, model: str) -> None:
    jobs = [a_job(model) for _ in range(3)]
    await bus.listener.subscribe(keys.grants(f"{model}-w"), lambda message: None)
    claims = await bus.claim(model, f"{model}-w", f"{model}-w/1", room=4, bulk_room=4, stand=Stand(free=1))
    assert claims.stands
    for job in jobs:
        await put(bus, job)
    assert [claim.job for claim in await take(bus, model, "other", room=4)] == jobs[1:]


async def test_a_claim_that_stood_in_a_lost_answer_stands_no_more_once_it_is_asked_again(bus: Bus, model: str) -> None:
    job, worker = a_job(model), f"{model}-w"
    await bus.listener.subscribe(keys.grants(worker), lambda message: None)
    lost = await bus.claim(model, worker, f"{worker}/1", room=4, bulk_room=4, stand=Stand(4))
    again = await bus.claim(model, worker, f"{worker}/1", room=4, bulk_room=4, again=True, stand=Stand(4))
    assert (lost.stands, again.stands) == (True, False)
    await put(bus, job)
    after = await bus.claim(model, worker, f"{worker}/2", room=4, bulk_room=4, stand=Stand(4))
    assert [claim.job for claim in after] == [job], "or its owner would never hear of it"


async def test_a_claim_that_left_something_behind_because_it_has_so_much_does_not_stand(bus: Bus, model: str) -> None:
    large, small = Job(new_id(), model, prompt="x" * 5_000_000), a_job(model)
    for worker, job in (("a", large), ("b", small)):
        await put(bus, job)
        await take(bus, model, worker)
    for worker in ("a", "b"):
        await bus.release(model, worker, crashed=False)
    claims = await bus.claim(model, "w", "w/1", room=4, bulk_room=4, stand=Stand(4))
    assert (len(claims), claims.stands) == (1, False), "the other one lies around"
