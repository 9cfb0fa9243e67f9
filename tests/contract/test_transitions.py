"""Every transition of queuechat/functions on a real Redis: what it does and refuses; saying it twice is safe."""

from __future__ import annotations

import asyncio

import pytest

from queuechat import keys
from queuechat.bus import Accepted, Bus, Claim, Claims, Item, Repeated, Verdict
from queuechat.bus.lua import library
from queuechat.errors import IdempotencyMismatch, QueueFull
from queuechat.protocol import Chunk, End, Job, Reason, Times, decode_event, new_id


def a_job(model: str, **fields: object) -> Job:
    return Job(id=new_id(), model=model, prompt="hi", **fields)  # type: ignore[arg-type]


async def put(bus: Bus, *jobs: Job, limit: int = 100, grace_s: float = 0) -> Accepted | Repeated:
    return await bus.enqueue(jobs, limit=limit, grace_s=grace_s)


async def take(bus: Bus, model: str, worker: str = "w", nonce: str = "1", room: int = 8) -> Claims:
    return await bus.claim(model, worker, f"{worker}/{nonce}", room=room, bulk_room=room)


def item(claim: Claim, first: int, ids: list[int], before: str, after: str) -> Item:
    chunk = Chunk(first, len(ids), "".join(f" {id}" for id in ids), ids)
    return Item(claim.job.id, claim.nonce, first, len(ids), before, after, chunk.encode())


async def say(bus: Bus, claim: Claim, *items: Item) -> list[Verdict]:
    return await bus.publish(claim.job.model, items)


async def end(bus: Bus, claim: Claim, offset: int, reason: Reason = Reason.STOP) -> Verdict:
    done = End(reason, offset, prompt_tokens=3)
    return (await bus.finish(claim.job.model, [(claim.job.id, claim.nonce, done)]))[0]


async def events(bus: Bus, job: Job) -> list[Chunk | End]:
    return [decode_event(entry.raw) for entry in await bus.read_log(job.model, job.id)]


async def leftovers(bus: Bus, model: str) -> tuple[int, int, int]:
    """Entries in the streams, entries pending, deadlines: all 0 when nothing waits or runs."""
    depth = await bus.depth(model)
    deadlines = await bus.connection.command("ZCARD", f"qc:{{{model}}}:deadlines")
    return depth.waiting + depth.bulk_waiting, depth.running, int(deadlines)


async def test_a_job_goes_from_the_queue_to_its_end_and_leaves_nothing_behind(bus: Bus, model: str) -> None:
    job = a_job(model)
    assert await put(bus, job) == Accepted()
    (claim,) = await take(bus, model)
    assert (claim.job, claim.epoch, claim.offset, claim.hash) == (job, 1, 0, "")
    assert await say(bus, claim, item(claim, 0, [1, 2], "", "a")) == [Verdict.OK]
    assert await say(bus, claim, item(claim, 2, [3], "a", "b")) == [Verdict.OK]
    assert await end(bus, claim, 3) is Verdict.OK
    first, second, last = await events(bus, job)
    assert (first, second) == (Chunk(0, 2, " 1 2", [1, 2]), Chunk(2, 1, " 3", [3]))
    assert isinstance(last, End)
    assert (last.reason, last.offset, last.prompt_tokens) == (Reason.STOP, 3, 3)
    assert 0 < last.times.queued <= last.times.started <= last.times.first <= last.times.ended
    assert await leftovers(bus, model) == (0, 0, 0)


async def test_the_same_job_enqueued_twice_waits_once(bus: Bus, model: str) -> None:
    job = a_job(model)
    assert [await put(bus, job), await put(bus, job)] == [Accepted(), Accepted()]
    assert (await bus.depth(model)).waiting == 1


async def test_jobs_of_one_request_are_taken_all_or_none(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    with pytest.raises(QueueFull) as refused:
        await put(bus, a_job(model), a_job(model), limit=2)
    assert refused.value.retry_after is not None
    assert (await bus.depth(model)).waiting == 1
    assert await put(bus, a_job(model), limit=2) == Accepted()


async def test_running_jobs_take_no_place_in_the_waiting_room(bus: Bus, model: str) -> None:
    await put(bus, a_job(model), limit=1)
    await take(bus, model)
    assert await put(bus, a_job(model), limit=1) == Accepted()


async def test_an_idempotency_key_answers_the_first_request_and_refuses_another_body(bus: Bus, model: str) -> None:
    first = a_job(model)
    await bus.enqueue([first], limit=9, grace_s=0, idem=("key", "body"))
    again = await bus.enqueue([a_job(model)], limit=9, grace_s=0, idem=("key", "body"))
    assert again == Repeated(first.id)
    with pytest.raises(IdempotencyMismatch):
        await bus.enqueue([a_job(model)], limit=9, grace_s=0, idem=("key", "other"))
    assert (await bus.depth(model)).waiting == 1


async def test_a_claim_whose_answer_was_lost_is_answered_again(bus: Bus, model: str) -> None:
    await put(bus, a_job(model), a_job(model))
    lost = await bus.claim(model, "w", "w/1", room=8)
    again = await bus.claim(model, "w", "w/1", room=8, again=True)
    assert sorted(c.job.id for c in again) == sorted(c.job.id for c in lost)
    assert {c.epoch for c in again} == {1}


async def test_a_claim_that_arrives_after_a_later_one_takes_nothing(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    assert await bus.claim(model, "w", "w/life.b", room=0, turn=2) == []
    assert await bus.claim(model, "w", "w/life.a", room=8, turn=1) == []
    assert (await bus.depth(model)).waiting == 1
    assert len(await bus.claim(model, "w", "w/another.a", room=8, turn=1)) == 1, "another life counts for itself"


async def test_a_claim_takes_no_more_than_there_is_room_for_and_bulk_last(bus: Bus, model: str) -> None:
    bulk, jobs = a_job(model, lane="bulk"), [a_job(model) for _ in range(3)]
    await put(bus, bulk)
    await put(bus, *jobs)
    assert [c.job for c in await take(bus, model, nonce="1", room=2)] == jobs[:2]
    assert [c.job for c in await take(bus, model, nonce="2", room=2)] == [jobs[2], bulk]


@pytest.mark.parametrize(
    ("first", "before", "verdict"),
    [(0, "", Verdict.DUP), (3, "a", Verdict.GAP), (2, "x", Verdict.DIVERGED), (2, "a", Verdict.OK)],
)
async def test_only_the_next_tokens_after_the_same_prefix_are_written(
    bus: Bus, model: str, first: int, before: str, verdict: Verdict
) -> None:
    await put(bus, a_job(model))
    (claim,) = await take(bus, model)
    await say(bus, claim, item(claim, 0, [1, 2], "", "a"))
    assert await say(bus, claim, item(claim, first, [7, 8], before, "b")) == [verdict]
    assert len(await events(bus, claim.job)) == (2 if verdict is Verdict.OK else 1)


async def test_one_publish_answers_for_each_of_its_jobs(bus: Bus, model: str) -> None:
    await put(bus, a_job(model), a_job(model))
    one, two = await take(bus, model)
    fenced = item(two, 0, [5], "", "b")._replace(nonce="w/other")
    assert await say(bus, one, item(one, 0, [4], "", "a"), fenced) == [Verdict.OK, Verdict.FENCED]


async def test_a_former_owner_can_neither_publish_nor_finish(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    (zombie,) = await take(bus, model, "z")
    await say(bus, zombie, item(zombie, 0, [1], "", "a"))
    await bus.release(model, "z", crashed=True)
    (heir,) = await take(bus, model, "h")
    assert (heir.epoch, heir.offset, heir.hash) == (2, 1, "a")
    assert await say(bus, zombie, item(zombie, 1, [2], "a", "b")) == [Verdict.FENCED]
    assert await end(bus, zombie, 1) is Verdict.FENCED
    assert await say(bus, heir, item(heir, 1, [3], "a", "c")) == [Verdict.OK]
    assert await end(bus, heir, 2) is Verdict.OK


async def test_an_end_needs_every_token_before_it_and_comes_once(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    (claim,) = await take(bus, model)
    await say(bus, claim, item(claim, 0, [1], "", "a"))
    assert await end(bus, claim, 2) is Verdict.GAP
    assert await end(bus, claim, 1) is Verdict.OK
    assert await end(bus, claim, 1) is Verdict.ALREADY
    assert [type(e) for e in await events(bus, claim.job)] == [Chunk, End]
    assert await bus.connection.command("XLEN", keys.usage(model)) == 1


async def test_what_a_living_worker_holds_is_renewed_and_what_was_handed_back_is_not(bus: Bus, model: str) -> None:
    await put(bus, a_job(model), a_job(model))
    one, two = await take(bus, model)
    assert await bus.renew(model, "w") == {one.job.id: Verdict.OK, two.job.id: Verdict.OK}
    await bus.release(model, "w", [one.job.id], crashed=False)
    assert await bus.renew(model, "w") == {two.job.id: Verdict.OK}
    assert [c.job.id for c in await take(bus, model, "v")] == [one.job.id]


async def unheard_of(bus: Bus, model: str, idle_ms: int) -> Claim:
    """A job of worker "w", whose lease was last renewed so long ago."""
    await put(bus, a_job(model))
    (claim,) = await take(bus, model)
    jobs = keys.jobs(model)
    sid = (await bus.connection.command("XRANGE", jobs, "-", "+"))[0][0]
    await bus.connection.command("XCLAIM", jobs, keys.GROUP, "w", 0, sid, "IDLE", idle_ms)
    return claim


async def fall_silent(bus: Bus, model: str, ms: int) -> None:
    """As if nobody had been able to speak to Redis for so long."""
    now = int((await bus.connection.command("TIME"))[0]) * 1000
    await bus.connection.command("HSET", keys.pulse(model), "at", now - ms)


async def test_a_lease_that_ran_out_is_taken_over(bus: Bus, model: str) -> None:
    claim = await unheard_of(bus, model, keys.LEASE_MS + 1)
    assert [heir.job.id for heir in await take(bus, model, "v")] == [claim.job.id]


async def test_a_lease_that_still_holds_is_not_taken_over(bus: Bus, model: str) -> None:
    await unheard_of(bus, model, 0)
    assert await take(bus, model, "v") == []


async def test_no_lease_is_believed_to_have_run_out_while_nobody_could_renew_it(bus: Bus, model: str) -> None:
    claim = await unheard_of(bus, model, 60_000)
    await fall_silent(bus, model, 60_000)
    assert await take(bus, model, "v") == []
    assert await bus.renew(model, "w") == {claim.job.id: Verdict.OK}
    await bus.release(model, "w", crashed=False)
    assert [heir.job.id for heir in await take(bus, model, "v")] == [claim.job.id]


async def test_a_job_that_is_handed_back_after_crashes_becomes_a_dead_letter_without_its_prompt(
    bus: Bus, model: str
) -> None:
    job = a_job(model)
    await put(bus, job)
    deaths = 0
    while claims := await take(bus, model, f"w{deaths}"):
        await bus.release(model, claims[0].nonce.split("/")[0], crashed=True, by_itself=True)
        deaths += 1
    assert deaths == 3
    (dead,) = await events(bus, job)
    assert isinstance(dead, End)
    assert (dead.reason, dead.error and dead.error.code) == (Reason.DEAD, "job_failed")
    letters = await bus.connection.command("XRANGE", keys.dead(model), "-", "+")
    assert len(letters) == 1
    assert b"hi" not in letters[0][1]
    assert await leftovers(bus, model) == (0, 0, 0)


async def test_progress_forgives_earlier_crashes_and_a_drain_counts_none(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    at = 0
    for round in range(12):
        (claim,) = await take(bus, model, f"w{round}")
        await say(bus, claim, item(claim, at, list(range(32)), str(at) if at else "", str(at + 32)))
        at += 32
        await bus.release(model, f"w{round}", crashed=round % 2 == 0)
    assert [c.offset for c in await take(bus, model)] == [at]


async def test_a_waiting_job_is_cancelled_at_once(bus: Bus, model: str) -> None:
    job = a_job(model)
    await put(bus, job)
    assert await bus.cancel(model, [job.id, "nobody"]) == ["OK", "MISSING"]
    assert [e.reason for e in await events(bus, job) if isinstance(e, End)] == [Reason.CANCELLED]
    assert await bus.cancel(model, [job.id]) == ["ALREADY"]
    assert await take(bus, model) == []
    assert await leftovers(bus, model) == (0, 0, 0)


async def test_a_running_job_is_flagged_and_its_worker_told(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    (claim,) = await take(bus, model)
    told: asyncio.Queue[bytes] = asyncio.Queue()
    await bus.listener.subscribe(keys.control("w"), told.put_nowait)
    assert await bus.cancel(model, [claim.job.id]) == ["OK"]
    assert await told.get() == b"cancel " + claim.job.id.encode()
    assert await say(bus, claim, item(claim, 0, [1], "", "a")) == [Verdict.CANCEL]
    assert await bus.renew(model, "w") == {claim.job.id: Verdict.CANCEL}
    assert await end(bus, claim, 0, Reason.CANCELLED) is Verdict.OK


async def test_a_job_over_its_deadline_ends_wherever_it_stands(bus: Bus, model: str) -> None:
    waiting, running, watched = (a_job(model, deadline_s=0.001) for _ in range(3))
    await put(bus, running)
    claims = await take(bus, model)
    await put(bus, waiting, watched)
    await bus.connection.command("WAIT", 1, 10)  # ten of Redis' own milliseconds
    for claim in claims:
        assert await say(bus, claim, item(claim, 0, [1], "", "a")) == [Verdict.DEADLINE]
    await bus.watch(model, [watched.id])
    assert await bus.expire(model) == 3 - 1 - (1 - len(claims))
    for job in (waiting, running, watched):
        assert [e.reason for e in await events(bus, job) if isinstance(e, End)] == [Reason.DEADLINE]
    assert await leftovers(bus, model) == (0, 0, 0)


async def test_a_reader_is_told_of_the_deadline_though_the_owner_is_lost(bus: Bus, model: str) -> None:
    job = a_job(model, deadline_s=0.05)
    await put(bus, job)
    await take(bus, model)
    await bus.connection.command("WAIT", 1, 60)  # so many milliseconds of Redis' own
    await bus.watch(model, [job.id])
    assert (await bus.watch(model, [job.id]))[0].state == "deadline"


async def test_what_nobody_wants_any_more_keeps_no_worker_from_the_next_job(bus: Bus, model: str) -> None:
    await put(bus, *(a_job(model, deadline_s=0.001) for _ in range(20)))
    await bus.connection.command("WAIT", 1, 10)
    wanted = a_job(model)
    await put(bus, wanted)
    assert [claim.job for claim in await bus.claim(model, "w", "w/1", room=1)] == [wanted]


async def test_a_job_that_nobody_watches_any_more_is_cancelled(bus: Bus, model: str) -> None:
    await put(bus, a_job(model), grace_s=0.001)
    await bus.connection.command("WAIT", 1, 10)
    assert await take(bus, model) == []
    assert await leftovers(bus, model) == (0, 0, 0)


async def test_nobody_is_taken_to_have_left_while_redis_was_down(bus: Bus, model: str) -> None:
    hours = 3_600_000
    job = a_job(model)
    await put(bus, job, grace_s=10 * 3600)
    now = int((await bus.connection.command("TIME"))[0]) * 1000
    await bus.connection.command("HSET", keys.job(model, job.id), "seen", now - 11 * hours)
    await fall_silent(bus, model, 11 * hours)
    assert [claim.job.id for claim in await take(bus, model)] == [job.id]


async def test_a_job_that_this_release_cannot_read_ends_and_the_others_run(bus: Bus, model: str) -> None:
    strange, plain = a_job(model), a_job(model)
    await put(bus, strange)
    await put(bus, plain)
    await bus.connection.command("HSET", keys.job(model, strange.id), "job", b'1{"from":"the future"}')
    assert [claim.job.id for claim in await take(bus, model)] == [plain.id]
    (ended,) = await events(bus, strange)
    assert isinstance(ended, End)
    assert ended.error is not None
    assert "another release" in ended.error.message


async def test_a_lost_answer_does_not_make_a_worker_take_more_than_it_can_hold(bus: Bus, model: str) -> None:
    await put(bus, *(a_job(model) for _ in range(6)))
    await bus.claim(model, "w", "w/1", room=2)
    await take(bus, model, "other", room=2)
    await bus.release(model, "other", crashed=False)
    assert len(await bus.claim(model, "w", "w/1", room=2, again=True)) == 2


async def test_a_watcher_sees_its_place_and_then_the_progress(bus: Bus, model: str) -> None:
    jobs = [a_job(model) for _ in range(3)]
    await put(bus, *jobs)
    sights = await bus.watch(model, [job.id for job in jobs])
    assert [(s.state, s.place) for s in sights] == [("waiting", 1), ("waiting", 2), ("waiting", 3)]
    (claim,) = await take(bus, model, room=1)
    await say(bus, claim, item(claim, 0, [1, 2], "", "a"))
    sights = await bus.watch(model, [jobs[0].id, jobs[2].id, "nobody"])
    assert [tuple(s) for s in sights] == [("running", 2, 0), ("waiting", 0, 2), ("", 0, 0)]


async def test_a_consumer_with_nothing_pending_is_forgotten_and_one_with_jobs_is_not(bus: Bus, model: str) -> None:
    await put(bus, a_job(model))
    await take(bus, model, "busy")
    await take(bus, model, "idle")
    await bus.leave(model, "idle")
    await bus.leave(model, "busy")
    consumers = await bus.connection.command("XINFO", "CONSUMERS", keys.jobs(model), keys.GROUP)
    assert len(consumers) == 1


async def test_depth_tells_what_waits_runs_and_has_ended(bus: Bus, model: str) -> None:
    await put(bus, *(a_job(model) for _ in range(4)))
    (claim,) = await take(bus, model, room=1)
    await end(bus, claim, 0)
    await take(bus, model, room=1, nonce="2")
    depth = await bus.depth(model)
    assert (depth.waiting, depth.running, depth.dead) == (2, 1, 0)
    assert depth.finished_per_s > 0
    assert b'"waiting":2' in await bus.connection.command("GET", keys.depth(model))


async def test_an_older_release_leaves_the_functions_of_a_newer_one_alone(bus: Bus) -> None:
    text, revision, sha = library()
    newer = text.replace(f"{revision}:{sha}", f"{revision + 1}:newer")
    await bus.connection.command("FUNCTION", "LOAD", "REPLACE", newer)
    try:
        await bus.connection.load_functions()
        assert await bus.connection.command("FCALL", "qc1_version", 0) == f"{revision + 1}:newer".encode()
    finally:
        await bus.connection.command("FUNCTION", "LOAD", "REPLACE", text)


async def test_functions_come_back_by_themselves_when_redis_was_flushed(bus: Bus, model: str) -> None:
    await bus.connection.command("FUNCTION", "FLUSH")
    assert await put(bus, a_job(model)) == Accepted()


def test_an_end_carries_reason_error_and_times_over_the_wire() -> None:
    raw = b'1{"o":4,"end":' + End(Reason.LENGTH, text="tail", prompt_tokens=2).encode_verdict() + b',"at":[1,2,3,4]}'
    assert decode_event(raw) == End(Reason.LENGTH, 4, "tail", 2, None, Times(1, 2, 3, 4))


def test_another_wire_version_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="another release"):
        decode_event(b'2{"o":0}')
