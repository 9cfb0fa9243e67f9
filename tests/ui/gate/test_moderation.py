"""Moderation: a real service over HTTP, a guard model through the queue, and what happens without either."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from PIL import Image

from queuechat.bus import Bus
from queuechat.errors import QueuechatError
from queuechat.protocol import Failure, Job, new_id
from tests.ui.gate.judge import Judge, a_judge
from tests.ui.scribe import Scribe
from ui.desk import Desk
from ui.gate.endpoint import Endpoint
from ui.gate.guard import Guard, recent, verdict_of
from ui.gate.moderation import Moderation
from ui.gate.passages import passages_of
from ui.gate.refusals import ContentFlagged, ModerationUnavailable


def said(*texts: str, system: str = "", images: list[str] | None = None) -> Job:
    """Question, answer, question, …; the images belong to the last."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    if images:
        parts = [*({"type": "image"} for _ in images), {"type": "text", "text": texts[-1]}]
        messages[-1] = {"role": "user", "content": parts}  # type: ignore[dict-item]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return Job(new_id(), "m", messages=messages, images=images or [])


def picture(kind: str) -> str:
    file = BytesIO()
    Image.new("RGB", (2, 2)).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


async def verdict(moderation: Moderation, job: Job) -> str:
    """The code of what it raises; "" when it lets the job pass."""
    try:
        await moderation.check(passages_of(job), "somebody")
    except QueuechatError as error:
        return error.code
    return ""


@pytest.fixture
async def judge() -> AsyncIterator[Judge]:
    async with a_judge() as judge:
        yield judge


def at(judge: Judge, *, closed: bool = True, patience_s: float = 10, **thresholds: float) -> Moderation:
    endpoint = Endpoint(judge.url, "sesame", "omni", thresholds, patience_s=patience_s)
    return Moderation(endpoint, patience_s=patience_s, closed=closed)


async def test_an_endpoint_is_asked_with_key_and_model_and_flags(judge: Judge) -> None:
    moderation = at(judge)
    assert await verdict(moderation, said("hello")) == ""
    assert await verdict(moderation, said("how to build a bomb")) == "content_flagged"
    assert judge.asked[0] == {"model": "omni", "input": ["hello"]}
    assert set(judge.keys) == {"Bearer sesame"}
    await moderation.close()


async def test_what_was_judged_once_is_not_judged_again(judge: Judge) -> None:
    moderation = at(judge)
    for job in (said("a"), said("a"), said("a", "b", "c")):
        assert await verdict(moderation, job) == ""
    assert [body["input"] for body in judge.asked] == [["a"], ["b", "c"]]


@pytest.mark.parametrize(
    "job",
    [said("a", "b", "c", system="bomb"), said("bomb", "b", "c"), said("a", "a bomb", "c"), said("a", "b", "bomb")],
)
async def test_nothing_of_a_conversation_passes_because_the_browser_says_that_it_is_old(judge: Judge, job: Job) -> None:
    moderation = at(judge)
    assert await verdict(moderation, said("a")) == ""
    assert await verdict(moderation, job) == "content_flagged"
    assert await verdict(moderation, job) == "content_flagged"


@pytest.mark.parametrize(("kind", "code"), [("PNG", ""), ("GIF", "content_flagged")])
async def test_images_are_judged_each_by_itself(judge: Judge, kind: str, code: str) -> None:
    images = [picture("PNG"), picture(kind)]
    assert await verdict(at(judge), said("what is this?", images=images)) == code
    shown = [body["input"][0]["image_url"]["url"] for body in judge.asked if isinstance(body["input"][0], dict)]
    assert shown == [f"data:image/png;base64,{images[0]}", f"data:image/{kind.lower()};base64,{images[1]}"]


@pytest.mark.parametrize(
    ("threshold", "text", "code"),
    [(0.3, "hello", "content_flagged"), (0.5, "hello", ""), (0.95, "bomb", ""), (0.9, "bomb", "content_flagged")],
)
async def test_a_threshold_stands_above_what_the_endpoint_says(
    judge: Judge, threshold: float, text: str, code: str
) -> None:
    assert await verdict(at(judge, violence=threshold), said(text)) == code


async def test_a_threshold_for_a_category_that_does_not_exist_is_told(
    judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    assert await verdict(at(judge, violins=0.1), said("bomb")) == "content_flagged"
    assert "no score for violins" in caplog.text


@pytest.mark.parametrize("mood", ["down", "odd", "short", "never"])
@pytest.mark.parametrize(("closed", "code"), [(True, "moderation_unavailable"), (False, "")])
async def test_without_a_verdict_the_setting_decides(
    judge: Judge, caplog: pytest.LogCaptureFixture, mood: str, closed: bool, code: str
) -> None:
    judge.mood = mood
    with caplog.at_level(logging.DEBUG):
        assert (
            await verdict(at(judge, closed=closed, patience_s=0.2 if mood == "never" else 10), said("a bomb")) == code
        )
    assert "moderation does not answer" in caplog.text
    assert "bomb" not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("ui"))
    judge.mood = "well"
    assert await verdict(at(judge), said("a bomb")) == "content_flagged"


async def test_nobody_there_is_no_verdict() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "", "omni", {}, patience_s=5)
    assert await verdict(Moderation(endpoint, patience_s=5), said("hello")) == "moderation_unavailable"


async def test_a_flag_is_logged_without_what_was_asked(judge: Judge, caplog: pytest.LogCaptureFixture) -> None:
    assert await verdict(at(judge), said("a very secret bomb")) == "content_flagged"
    assert "moderation flagged what somebody asked: violence" in caplog.text
    assert "secret" not in caplog.text


def guard(job: Job) -> str | Failure:
    """As Llama Guard answers, of its last message."""
    assert job.messages
    if len(job.messages) > 3:
        return Failure("context_length_exceeded", "too long")
    return "\n\nunsafe\nS1,S9" if "bomb" in job.messages[-1]["content"] else "\n\nsafe"


async def test_a_guard_model_judges_through_the_queue(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "guard", script=guard) as scribe:
        moderation = Moderation(Guard(desk.client, desk.roster, "guard", patience_s=20), patience_s=20)
        assert await verdict(moderation, said("hello", system="Be brief.")) == ""
        assert await verdict(moderation, said("hello", "hi", "a bomb", system="Be brief.")) == "content_flagged"
        asked = [job.messages for job in scribe.jobs]
    assert [{"role": "user", "content": "Be brief."}] in asked
    assert [{"role": "user", "content": "hello"}] in asked
    assert said("hello", "hi", "a bomb").messages in asked
    assert all(job.sampling.temperature == 0 for job in scribe.jobs)


async def test_a_guard_that_fails_or_sees_no_images_gives_no_verdict(desk: Desk, bus: Bus) -> None:
    async with Scribe(bus, "guard", script=guard):
        moderation = Moderation(Guard(desk.client, desk.roster, "guard", patience_s=20), patience_s=20)
        assert await verdict(moderation, said(*"abcde")) == "moderation_unavailable"
        assert await verdict(moderation, said("what is this?", images=[picture("PNG")])) == "moderation_unavailable"
    moderation = Moderation(Guard(desk.client, desk.roster, "nobody", patience_s=20), patience_s=20)
    assert await verdict(moderation, said("hello")) == "moderation_unavailable"


@pytest.mark.parametrize(
    ("room", "told"),
    [(99, ["aa", "bb", "cc", "dd", "ee"]), (9, ["cc", "dd", "ee"]), (6, ["cc", "dd", "ee"]), (1, ["ee"])],
)
def test_a_guard_is_told_as_much_of_a_long_conversation_as_it_can_read(room: int, told: list[str]) -> None:
    last = passages_of(said("aa", "bb", "cc", "dd", "ee", system="s"))[-1]
    assert [passage.text for passage in recent(last, room)] == told


@pytest.mark.parametrize(
    ("text", "categories"),
    [("\n\nsafe", set()), ("unsafe\nS1,S9", {"S1", "S9"}), ("Unsafe", {"unsafe"}), ("unsafe \n S10 ", {"S10"})],
)
def test_a_guards_words_are_read(text: str, categories: set[str]) -> None:
    assert verdict_of(text) == categories


@pytest.mark.parametrize("text", ["", "Sure! Here is", "safety first", "not safe"])
def test_what_is_no_verdict_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ModerationUnavailable):
        verdict_of(text)


async def test_both_sides_of_a_battle_can_be_judged_at_once(judge: Judge) -> None:
    moderation, job = at(judge), said("bomb")
    outcomes = await asyncio.gather(
        *(moderation.check(passages_of(job), "p") for _ in range(2)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [ContentFlagged] * 2
