"""Workers as processes, with real signals, asked through the client that API and UI use."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import orjson

from queuechat import keys
from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import Chunk, End, Job, Reason, Sampling, new_id
from tests.conftest import free_port, start_redis
from tests.processes import Workers, census_when


def a_job(model: str, tokens: int, seed: int = 7, **fields: object) -> Job:
    return Job(new_id(), model, prompt="Tell me", sampling=Sampling(seed=seed), max_tokens=tokens, **fields)  # type: ignore[arg-type]


async def whole(client: Client, job: Job) -> tuple[str, list[int], End]:
    """The text, the ids and the end of an answer."""
    text = ""
    ids: list[int] = []
    async for event in client.ask(job):
        if isinstance(event, Chunk):
            text, ids = text + event.text, ids + event.ids
        elif isinstance(event, End):
            return text + event.text, ids, event
    raise AssertionError("the stream ended without an End")


async def test_an_answer_depends_on_prompt_and_seed_alone(client: Client, workers: Workers, model: str) -> None:
    await workers.start("echo", model)
    first, again, other = [await whole(client, a_job(model, 40, seed)) for seed in (1, 1, 2)]
    assert first[:2] == again[:2] != other[:2]
    assert (first[2].reason, first[2].offset, len(first[1])) == (Reason.LENGTH, 40, 40)


async def test_a_stop_string_ends_the_answer_and_is_not_returned(client: Client, workers: Workers, model: str) -> None:
    await workers.start("echo", model)
    text, _, _ = await whole(client, a_job(model, 40))
    word = text.split()[10]
    stopped, ids, end = await whole(client, a_job(model, 40, stop=[word]))
    assert stopped == text[: text.index(word)]
    assert (end.reason, end.offset) == (Reason.STOP, len(ids))


async def test_an_answer_goes_on_where_a_killed_engine_stopped(client: Client, workers: Workers, model: str) -> None:
    await workers.start("echo", model, "--echo-rate", "100")
    undisturbed, _, _ = await whole(client, a_job(model, 120))
    text, killed = "", False
    async for event in client.ask(a_job(model, 120)):
        if isinstance(event, Chunk | End):
            text += event.text
        if isinstance(event, Chunk) and event.end > 30 and not killed:
            killed = True
            (card,) = await workers.of(model)
            os.kill(card.pid, signal.SIGKILL)
    assert text == undisturbed
    assert [card.restarts for card in await workers.of(model)] == [1]


async def test_another_worker_takes_over_when_a_whole_worker_is_killed(
    client: Client, workers: Workers, model: str
) -> None:
    first = await workers.start("echo", model, "--echo-rate", "100")
    undisturbed, _, _ = await whole(client, a_job(model, 100))
    (victim,) = await workers.of(model)
    asked = asyncio.create_task(whole(client, a_job(model, 100)))
    await census_when(client.bus, lambda census: any(w.id == victim.id and w.running for w in census.workers))
    await workers.start("echo", model, "--echo-rate", "100")
    first.send(signal.SIGKILL)
    text, _, end = await asked
    assert text == undisturbed
    assert end.reason is Reason.LENGTH


async def test_a_job_that_was_granted_to_a_worker_and_never_reached_it_is_answered(
    client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model)
    (card,) = await workers.of(model)
    os.kill(card.pid, signal.SIGSTOP)
    asked = asyncio.create_task(whole(client, a_job(model, 40, lane="bulk")))
    async with asyncio.timeout(60):
        while not await client.bus.claim(model, card.id, f"{card.id}/0.lost", room=1, bulk_room=1):
            await asyncio.sleep(0.01)
        os.kill(card.pid, signal.SIGCONT)
        _, ids, end = await asked
    assert (end.reason, len(ids)) == (Reason.LENGTH, 40)


async def test_cancelling_frees_the_slot_and_ends_the_stream(
    bus: Bus, client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model, "--echo-rate", "20", "--max-running", "1")
    answer = await client.submit([a_job(model, 4000)])
    await answer.take()
    waiting = asyncio.create_task(whole(client, a_job(model, 3)))
    await answer.close()
    assert (await waiting)[2].reason is Reason.LENGTH
    assert (await bus.depth(model)).running == 0


async def test_a_worker_that_stops_is_gone_and_its_waiting_jobs_are_answered_by_the_next(
    client: Client, workers: Workers, model: str
) -> None:
    command = await workers.start("echo", model, "--echo-rate", "50", "--max-running", "1")
    asked = [asyncio.create_task(whole(client, a_job(model, 20))) for _ in range(4)]
    await census_when(client.bus, lambda census: any(w.model == model and w.running for w in census.workers))
    assert await command.stop() == 0
    assert await workers.of(model) == []
    assert not all(task.done() for task in asked)
    await workers.start("echo", model)
    texts = {(await task)[0] for task in asked}
    assert len(texts) == 1


async def test_a_drained_worker_hands_over_what_its_grace_time_does_not_fit(
    client: Client, workers: Workers, model: str
) -> None:
    command = await workers.start("echo", model, "--echo-rate", "40", QUEUECHAT_DRAIN_S="0.2")
    undisturbed, _, _ = await whole(client, a_job(model, 60))
    asked = asyncio.create_task(whole(client, a_job(model, 60)))
    await census_when(client.bus, lambda census: any(w.model == model and w.running for w in census.workers))
    await workers.start("echo", model, "--echo-rate", "40")
    assert await command.stop() == 0
    assert (await asked)[0] == undisturbed


async def test_two_workers_share_the_jobs_of_one_model(client: Client, workers: Workers, model: str) -> None:
    for _ in range(2):
        await workers.start("echo", model, "--echo-rate", "50", "--max-running", "2")
    asked = [asyncio.create_task(whole(client, a_job(model, 200))) for _ in range(4)]

    def both_busy(census: object) -> bool:
        cards = [w for w in census.workers if w.model == model]  # type: ignore[attr-defined]
        return [w.running for w in cards] == [2, 2]

    await census_when(client.bus, both_busy)
    assert len({(await task)[0] for task in asked}) == 1


async def test_a_prompt_that_does_not_fit_ends_with_an_error_that_names_both_lengths(
    client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model, "--max-context", "64")
    job = Job(new_id(), model, prompt="x" * 100)
    _, _, end = await whole(client, job)
    assert end.reason is Reason.ERROR
    assert end.error is not None
    assert end.error.code == "context_length_exceeded"
    assert "64 tokens" in end.error.message
    assert "100 tokens" in end.error.message


async def test_embeddings_come_in_order_one_item_a_chunk(client: Client, workers: Workers, model: str) -> None:
    await workers.start("echo", model)
    job = Job(new_id(), model, inputs=[f"text {k}" for k in range(40)])
    vectors = [event.vector async for event in client.ask(job) if isinstance(event, Chunk)]
    alone = [e async for e in client.ask(Job(new_id(), model, inputs=["text 39"])) if isinstance(e, Chunk)]
    assert len(vectors) == 40
    assert vectors[39] == alone[0].vector


async def test_an_answer_can_be_read_again_from_any_offset_after_its_end(
    client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model, "--echo-rate", "200")
    job = a_job(model, 30)
    text, _, _ = await whole(client, job)
    again = [event async for event in client.resume(model, job.id)]
    assert "".join(e.text for e in again if isinstance(e, Chunk | End)) == text
    cut = next(e.end for e in again if isinstance(e, Chunk))
    rest = [event async for event in client.resume(model, job.id, cut)]
    assert rest == [e for e in again if not (isinstance(e, Chunk) and e.end <= cut)]


_ROLL_BACK = """
local rows = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('DEL', KEYS[1])
for i = 1, #rows - 2 do redis.call('XADD', KEYS[1], rows[i][1], unpack(rows[i][2])) end
local last = rows[#rows - 2]
redis.call('HSET', KEYS[2], 'next', string.match(last[1], '%d+'), 'hash', last[2][4])
"""


async def test_a_worker_says_again_what_a_stale_redis_has_forgotten(
    client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model, "--echo-rate", "50")
    undisturbed, _, _ = await whole(client, a_job(model, 60))
    job, forgotten = a_job(model, 60), False
    text = ""
    async for event in client.ask(job):
        if isinstance(event, Chunk) and event.end > 20 and not forgotten:
            forgotten = True
            log_and_job = (keys.log(model, job.id), keys.job(model, job.id))
            await client.bus.connection.command("EVAL", _ROLL_BACK, 2, *log_and_job)
        if isinstance(event, Chunk | End):
            text += event.text
    assert forgotten
    assert text == undisturbed
    again = [event async for event in client.resume(model, job.id)]
    assert "".join(e.text for e in again if isinstance(e, Chunk | End)) == undisturbed


async def test_a_request_that_cannot_be_prepared_costs_the_worker_nothing(
    client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model)
    hostile = Job(new_id(), model, messages=[{"role": "user"}], template_args={"special_tokens": 1})
    _, _, end = await whole(client, hostile)
    assert end.error is not None
    assert (end.reason, end.error.param) == (Reason.ERROR, "chat_template_kwargs")
    assert (await whole(client, a_job(model, 3)))[2].reason is Reason.LENGTH
    assert [card.restarts for card in await workers.of(model)] == [0]


async def test_a_redis_that_takes_no_writes_for_a_while_only_pauses_the_answer(
    bus: Bus, client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model, "--echo-rate", "50")
    undisturbed, _, _ = await whole(client, a_job(model, 100))
    text, paused = "", False
    async for event in client.ask(a_job(model, 100)):
        if isinstance(event, Chunk | End):
            text += event.text
        if isinstance(event, Chunk) and event.end > 20 and not paused:
            paused = True
            await bus.connection.command("CONFIG", "RESETSTAT")
            await bus.connection.command("CONFIG", "SET", "maxmemory", "1")
            try:
                while "errorstat_OOM" not in await bus.connection.command("INFO", "errorstats"):
                    await asyncio.sleep(0.05)
            finally:
                await bus.connection.command("CONFIG", "SET", "maxmemory", "0")
    assert text == undisturbed
    assert [card.restarts for card in await workers.of(model)] == [0]


async def test_a_cancelled_stream_at_full_speed_ends_as_cancelled_with_its_prompt_counted(
    client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model, "--max-context", "100000")
    answer = await client.submit([a_job(model, 90_000)])
    await answer.take()
    await answer.cancel()
    events = []
    while taken := await answer.take():
        events += [event for _, event in taken]
    end = events[-1]
    assert isinstance(end, End)
    assert (end.reason, end.prompt_tokens) == (Reason.CANCELLED, len("Tell me"))
    await answer.close()


async def test_a_worker_can_be_stopped_while_redis_is_away(tmp_path: Path) -> None:
    port = free_port()
    redis = start_redis(tmp_path, port)
    url = f"redis://127.0.0.1:{port}"
    bus = await Bus(url).open()
    workers = Workers(url, bus, tmp_path / "w")
    command = await workers.start("echo", "lonely")
    redis.kill()
    redis.wait()
    command.send(signal.SIGTERM)
    command.send(signal.SIGTERM)
    await command.process.wait()
    await bus.close()


async def test_a_worker_keeps_the_depth_fresh_for_who_only_reads_redis(
    bus: Bus, client: Client, workers: Workers, model: str
) -> None:
    await workers.start("echo", model, "--max-running", "1", "--echo-rate", "20")
    answers = [await client.submit([a_job(model, 4000)]) for _ in range(3)]

    async def told() -> dict[str, int]:
        raw, left = await bus.connection.insist([("GET", keys.depth(model)), ("PTTL", keys.depth(model))])
        assert 0 < left <= keys.DEPTH_MS
        depth: dict[str, int] = orjson.loads(raw)
        return depth

    async with asyncio.timeout(60):
        while ((depth := await told())["waiting"], depth["running"]) != (2, 1):
            await asyncio.sleep(0.05)
    assert set(depth) == {"waiting", "running", "bulk_waiting", "oldest_ms", "dead"}
    for answer in answers:
        await answer.close()
