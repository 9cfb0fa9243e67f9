"""Dead letters: queued again with what was delivered, forgotten, or a letter once more."""

from __future__ import annotations

import asyncio

import pytest

from queuechat import keys
from queuechat.audit import audit
from queuechat.bus import Bus, Verdict
from queuechat.client import Client
from queuechat.letters import Letter, drop, list_letters, redrive
from queuechat.protocol import Chunk, End, Job, Reason, decode_event
from queuechat.timeline import find_job
from tests.contract.steps import a_job, buried, crashed, end, events, put, say, state, take, text


async def letter_of(bus: Bus, job: Job) -> Letter:
    (letter,) = await list_letters(bus, [job.model])
    assert letter.id == job.id
    return letter


async def bills(bus: Bus, model: str) -> list[str]:
    """The ids in the usage stream."""
    rows = await bus.connection.command("XRANGE", keys.usage(model), "-", "+")
    return [fields[b"id"].decode() for _, fields in rows]


async def field(bus: Bus, job: Job, name: str) -> int:
    return int(await bus.connection.command("HGET", keys.job(job.model, job.id), name))


async def test_a_letter_tells_who_what_and_why_and_never_the_prompt(bus: Bus, model: str) -> None:
    job = a_job(model, tenant="t-1")
    await put(bus, job)
    await crashed(bus, model, 3)
    letter = await letter_of(bus, job)
    assert (letter.model, letter.crashes, letter.worker, letter.tenant) == (model, 3, "victim", "t-1")
    raw = await bus.connection.command("XRANGE", keys.dead(model), "-", "+")
    assert "secret" not in repr(raw)


async def test_a_redriven_job_keeps_what_was_delivered_and_ends_once(bus: Bus, model: str) -> None:
    job = await buried(bus, model, tokens=3)
    assert await redrive(bus, [await letter_of(bus, job)]) == ["OK"]
    assert await list_letters(bus, [model]) == []
    (claim,) = await take(bus, model)
    assert (claim.offset, claim.crashes, claim.suspect) == (3, 0, False)
    assert await say(bus, claim, 5) is Verdict.OK
    assert await end(bus, claim, 5) is Verdict.OK
    chunks, last = (await events(bus, job))[:-1], (await events(bus, job))[-1]
    assert [(chunk.offset, chunk.text) for chunk in chunks] == [(0, " 0 1 2"), (3, " 3 4")]
    assert isinstance(last, End)
    assert (last.reason, last.offset) == (Reason.STOP, 5)
    assert (await audit(bus, model)).faults == []


async def test_a_redriven_job_that_ended_is_billed_once(bus: Bus, model: str) -> None:
    job = await buried(bus, model, tokens=2)
    await redrive(bus, [await letter_of(bus, job)])
    assert await bills(bus, model) == []
    (claim,) = await take(bus, model)
    await end(bus, claim, 2)
    assert await bills(bus, model) == [job.id]


async def test_a_redriven_job_that_dies_again_is_a_letter_again(bus: Bus, model: str) -> None:
    job = await buried(bus, model, tokens=2)
    first, ends = await letter_of(bus, job), await field(bus, job, "ends")
    await redrive(bus, [first])
    await crashed(bus, model, 3)
    second = await letter_of(bus, job)
    assert second.entry != first.entry
    assert await field(bus, job, "ends") == ends + 1
    assert await bills(bus, model) == [job.id]
    assert [type(event) for event in await events(bus, job)] == [Chunk, End]
    assert await redrive(bus, [second]) == ["OK"]
    (claim,) = await take(bus, model)
    await end(bus, claim, 2)
    assert await text(bus, job) == " 0 1"


async def test_a_reader_hears_a_redriven_job_to_its_end(bus: Bus, model: str) -> None:
    job = await buried(bus, model, tokens=2)
    await redrive(bus, [await letter_of(bus, job)])
    async with Client(bus) as client:
        answer = await client.reopen(model, job.id, after=2)
        (claim,) = await take(bus, model)
        await say(bus, claim, 4)
        await end(bus, claim, 4)
        heard = []
        while taken := await answer.take():
            heard += [event for _, event in taken]
        await answer.close()
    assert [(type(event), event.offset) for event in heard if isinstance(event, Chunk | End)] == [(Chunk, 2), (End, 4)]


async def test_a_redriven_job_has_its_whole_time_again_and_needs_no_reader(bus: Bus, model: str) -> None:
    job = a_job(model, deadline_s=100)
    await put(bus, job, grace_s=0.5)
    await crashed(bus, model, 3)
    await redrive(bus, [await letter_of(bus, job)])
    lifetime = await field(bus, job, "deadline") - await field(bus, job, "queued")
    assert (lifetime, await field(bus, job, "grace")) == (100_000, 0)
    assert await bus.connection.command("PTTL", keys.job(model, job.id)) == -1
    assert await bus.connection.command("PTTL", keys.log(model, job.id)) == -1


async def test_a_redriven_job_wakes_idle_workers(bus: Bus, model: str) -> None:
    job = await buried(bus, model)
    woken: asyncio.Queue[bytes] = asyncio.Queue()
    await bus.listener.subscribe(keys.wake(model), woken.put_nowait)
    await redrive(bus, [await letter_of(bus, job)])
    assert await woken.get() == b"1"


async def test_what_was_answered_or_is_gone_is_not_queued_again(bus: Bus, model: str) -> None:
    job, gone = await buried(bus, model), await buried(bus, model)
    letters = {letter.id: letter for letter in await list_letters(bus, [model])}
    await bus.connection.command("DEL", keys.job(model, gone.id))
    both = [letters[job.id], letters[gone.id]]
    assert await redrive(bus, both) == ["OK", "MISSING"]
    assert await redrive(bus, both) == ["ALREADY", "MISSING"]
    assert (await bus.depth(model)).waiting == 1


async def test_more_letters_than_fit_one_call_are_answered_in_their_order(bus: Bus, model: str) -> None:
    for _ in range(13):
        await put(bus, *(a_job(model) for _ in range(8)))
        await crashed(bus, model, 2)
        for _ in range(8 * 3):
            await crashed(bus, model, 1)
    letters = await list_letters(bus, [model])
    await bus.connection.command("DEL", keys.job(model, letters[7].id))
    assert len(letters) == 104
    assert [at for at, word in enumerate(await redrive(bus, letters)) if word != "OK"] == [7]
    assert (await bus.depth(model)).waiting == 103


async def test_a_dropped_letter_is_forgotten_with_request_and_answer(bus: Bus, model: str) -> None:
    job, other = await buried(bus, model, tokens=1), await buried(bus, model)
    letters = {letter.id: letter for letter in await list_letters(bus, [model])}
    assert await drop(bus, [letters[job.id]]) == 1
    assert [letter.id for letter in await list_letters(bus, [model])] == [other.id]
    assert await bus.connection.command("EXISTS", keys.job(model, job.id), keys.log(model, job.id)) == 0
    assert await drop(bus, [letters[job.id]]) == 0
    assert (await audit(bus, model)).faults == []


async def test_dropping_an_old_letter_leaves_a_job_that_lives_again_alone(bus: Bus, model: str) -> None:
    job = await buried(bus, model)
    letter = await letter_of(bus, job)
    await redrive(bus, [letter])
    assert await drop(bus, [letter]) == 0
    assert await state(bus, job) == "waiting"


async def test_the_time_between_two_lives_is_not_taken_for_work(bus: Bus, model: str) -> None:
    job = await buried(bus, model, tokens=2)
    await redrive(bus, [await letter_of(bus, job)])
    (claim,) = await take(bus, model)
    await end(bus, claim, 2)
    last = decode_event((await bus.read_log(model, job.id))[-1].raw)
    assert isinstance(last, End)
    assert last.times.queued <= last.times.started <= last.times.ended


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_redriven_job_leaves_the_key_alone_that_another_request_has_by_now(
    bus: Bus, model: str, cancel: bool
) -> None:
    first, second = a_job(model), a_job(model)
    await put(bus, first, idem=("key", "body"))
    await crashed(bus, model, 3)
    await put(bus, second, idem=("key", "body"))
    await take(bus, model, "other")
    before = await bus.connection.command("HGETALL", keys.idem(model, "key"))
    await redrive(bus, [await letter_of(bus, first)])
    (claim,) = await take(bus, model)
    await (bus.cancel(model, [first.id]) if cancel else end(bus, claim, 0))
    await bus.release(model, "w", crashed=False)
    await take(bus, model)
    assert await bus.connection.command("HGETALL", keys.idem(model, "key")) == before
    assert await bus.connection.command("PTTL", keys.idem(model, "key")) > 15 * 60_000


async def test_a_letter_whose_request_is_gone_has_no_life_to_show(bus: Bus, model: str) -> None:
    job = await buried(bus, model)
    await bus.connection.command("DEL", keys.job(model, job.id))
    assert await find_job(bus, [model], job.id) is None
    assert (await letter_of(bus, job)).id == job.id
