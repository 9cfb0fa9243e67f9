"""A turn against a real Redis and a worker that writes prepared answers."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from dataclasses import replace

import pytest

from queuechat.bus import Bus
from queuechat.dialects.speech import RELAYED, Manner
from queuechat.protocol import Failure, Job, ModelCard
from tests.ui.scribe import Scribe
from tests.workers.engines.tiny_vision import picture
from ui.desk import Desk
from ui.talk.exchange import Exchange, Options
from ui.talk.following import Progress, follow
from ui.talk.placing import order_for
from ui.talk.reply import Frame, reply

QUESTION = [Exchange("hello there")]


def a_job() -> Job:
    return order_for(QUESTION, Options("m"), ModelCard("m"), deadline_s=60).jobs[0]


async def frames_of(desk: Desk, model: str, stop: asyncio.Event | None = None) -> list[Frame]:
    frames = reply(desk, QUESTION, Options(model), stop or asyncio.Event())
    return [frame async for frame in frames]


async def settled(desk: Desk, conversation: list[Exchange], model: str) -> Exchange:
    """The last exchange when nothing more will come."""
    frames = [frame async for frame in reply(desk, conversation, Options(model), asyncio.Event())]
    return frames[-1].exchange


async def until(desk: Desk, waiting: int, running: int) -> None:
    while True:
        depth = await desk.client.bus.depth("m")
        if (depth.waiting, depth.running) == (waiting, running):
            return
        await asyncio.sleep(0.02)


async def test_an_answer_comes_whole_and_with_its_footer(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m"):
        frames = await frames_of(desk, "m")
    last = frames[-1].exchange
    assert last.answer == "You said: hello there"
    assert last.footer.endswith("· 4 tokens · m")
    assert [frame.settled for frame in frames] == [False] * (len(frames) - 1) + [True]


async def test_updates_are_joined_to_at_most_25_a_second(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m", script=lambda _: "w " * 300, rate=1000):
        loop = asyncio.get_running_loop()
        began = loop.time()
        frames = await frames_of(desk, "m")
        took = loop.time() - began
    assert frames[-1].exchange.answer.split() == ["w"] * 300
    assert len(frames) <= 25 * took + 3


async def test_stopping_cancels_the_job_and_keeps_what_was_said(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m", script=lambda _: "w " * 5000, rate=200):
        stop, last = asyncio.Event(), None
        async for frame in reply(desk, QUESTION, Options("m"), stop):
            last = frame
            if frame.exchange.answer:
                stop.set()
        await until(desk, 0, 0)
    assert last is not None
    assert last.exchange.answer.startswith("w")
    assert last.exchange.footer.startswith("stopped · ")
    assert not last.exchange.notice


async def test_leaving_in_the_middle_cancels_the_job(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m", script=lambda _: "w " * 5000, rate=200):
        async with aclosing(reply(desk, QUESTION, Options("m"), asyncio.Event())) as frames:
            async for frame in frames:
                if frame.exchange.answer:
                    break
        await until(desk, 0, 0)
    assert desk.client.open_answers == 0


async def test_a_waiting_question_is_told_its_place(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m") as scribe:
        await desk.roster.refresh()
        scribe.gate.clear()
        async for frame in reply(desk, QUESTION, Options("m"), asyncio.Event()):
            if "Next in line" in frame.pending:
                scribe.gate.set()
    assert frame.exchange.answer


async def test_a_stopped_question_that_nobody_took_leaves_the_queue(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m") as scribe:
        await desk.roster.refresh()
        scribe.gate.clear()
        await asyncio.sleep(0.1)
        stop = asyncio.Event()
        asking = asyncio.create_task(frames_of(desk, "m", stop))
        await until(desk, 1, 0)
        stop.set()
        frames = await asking
        await until(desk, 0, 0)
    assert frames[-1].exchange.footer == "stopped · 0 tokens · m"


async def test_a_full_queue_says_when_to_come_back(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m") as scribe:
        await desk.roster.refresh()
        scribe.gate.clear()
        await asyncio.sleep(0.1)
        jobs = [a_job() for _ in range(3)]
        answers = [await desk.client.submit([job]) for job in jobs]
        frames = await frames_of(desk, "m")
        for answer in answers:
            await answer.close()
    assert frames[-1].exchange.notice.startswith("The queue for m is full. Try again in ")
    assert frames[-1].exchange.question == "hello there"


async def test_without_a_worker_the_notice_says_how_to_start_one(desk: Desk) -> None:
    frames = await frames_of(desk, "smollm2")
    assert "`queuechat worker --model smollm2`" in frames[-1].exchange.notice


async def test_an_error_of_the_worker_is_told_in_its_own_words(desk: Desk, bus: Bus) -> None:
    def refuse(_: Job) -> Failure:
        return Failure("context_length_exceeded", "the prompt has 9000 tokens, the model takes 4096")

    async with Scribe(bus, "m", script=refuse):
        frames = await frames_of(desk, "m")
    assert frames[-1].exchange.notice == "the prompt has 9000 tokens, the model takes 4096."


async def test_what_the_model_reads_has_no_footers(desk: Desk, bus: Bus) -> None:
    conversation = [Exchange("a", "b", footer="queued 0.1 s", notice="n"), Exchange("c")]
    async with Scribe(bus, "m") as scribe:
        async for _ in reply(desk, conversation, Options("m", system="s"), asyncio.Event()):
            pass
        messages = scribe.jobs[0].messages
    assert messages is not None
    assert [message["content"] for message in messages] == ["s", "a", "b", "c"]


async def test_many_users_are_answered_at_once(desk: Desk, bus: Bus) -> None:
    desk.client._queue_limit = 100
    async with Scribe(bus, "m", script=lambda _: "w " * 20, rate=100, room=40):
        ends = await asyncio.gather(*(frames_of(desk, "m") for _ in range(40)))
    assert {frames[-1].exchange.answer.split()[-1] for frames in ends} == {"w"}


async def test_a_quiet_answer_still_beats_so_that_a_closed_page_is_noticed(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m") as scribe:
        scribe.pen.clear()
        beats = 0
        job = a_job()
        async with aclosing(follow(desk.client, job, asyncio.Event(), pulse_s=0.05)) as steps:
            async for progress in steps:
                assert not progress.text
                beats += 1
                if beats == 5:
                    break


async def heard(desk: Desk, bus: Bus, text: str, manner: Manner | None) -> list[Progress]:
    """All that was told of an answer with this text."""
    async with (
        Scribe(bus, "m", script=lambda _: text),
        aclosing(follow(desk.client, a_job(), asyncio.Event(), manner=manner)) as steps,
    ):
        return [replace(progress) async for progress in steps]


@pytest.mark.parametrize(
    ("manner", "text", "thoughts", "words"),
    [
        (Manner(RELAYED), "\ufdd1Hm \ufdd0yes", "Hm ", "yes"),
        (None, "\ufdd1Hm \ufdd0yes", "", "\ufdd1Hm \ufdd0yes"),
        (Manner(reasoning="think"), "<think> Hm. Well. </think> yes", "Hm. Well.", "yes"),
        (Manner(reasoning="think"), "no <think> tag here", "", "no <think> tag here"),
        (None, "<think> Hm </think> yes", "", "<think> Hm </think> yes"),
    ],
)
async def test_thoughts_are_told_apart_as_the_model_says_that_it_writes_them(
    desk: Desk, bus: Bus, manner: Manner | None, text: str, thoughts: str, words: str
) -> None:
    last = (await heard(desk, bus, text, manner))[-1]
    assert (last.thoughts, last.text) == (thoughts, words)


async def test_the_board_lists_live_models_and_says_so(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m"):
        await desk.roster.refresh()
        await desk.board.refresh()
        assert desk.board.models == ["m"]
        assert desk.board.status == "1 model · 1 worker · 0 waiting · 0 running"


SEEN = [Exchange("what is it?", images=("data:image/png;base64,eA==",))]


async def test_images_for_a_model_that_reads_text_only_are_refused_with_who_takes_them(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m"), Scribe(bus, "seer", vision=True):
        await desk.roster.refresh()
        told = await settled(desk, SEEN, "m")
    assert told.notice.startswith("m reads text only. Images are taken by seer")
    assert told.images == SEEN[0].images


async def test_images_reach_a_model_that_sees_as_those_of_api_clients_do(desk: Desk, bus: Bus) -> None:
    file = base64.b64encode(picture("red")).decode()
    asked = [Exchange("what is it?", images=(f"data:image/png;base64,{file}",))]
    async with Scribe(bus, "seer", script=lambda _: "a square", vision=True) as scribe:
        assert (await settled(desk, asked, "seer")).answer == "a square"
    assert scribe.jobs[0].images == [file]
    assert (scribe.jobs[0].messages or [])[0]["content"] == [
        {"type": "image"},
        {"type": "text", "text": "what is it?"},
    ]


async def test_thoughts_of_a_model_that_thinks_are_shown_and_not_read_again(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "m", script=lambda _: "<think> Hm. </think> Yes.", reasoning="think") as scribe:
        first = await settled(desk, QUESTION, "m")
        assert (first.thoughts, first.answer) == ("Hm.", "Yes.")
        await settled(desk, [first, Exchange("sure?")], "m")
        assert [message["content"] for message in scribe.jobs[1].messages or []] == ["hello there", "Yes.", "sure?"]
