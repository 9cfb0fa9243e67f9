"""A battle as somebody at the page sees it. With QUEUECHAT_SCREENSHOTS=<folder> the picture of the docs is made too."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import expect

from queuechat.protocol import Failure
from tests.browser.conftest import RIVALS, NewPage, script, through
from tests.browser.duels import Ring, lines
from tests.service.page import Page as Visitor
from tests.ui.scribe import Scribe

pytestmark = pytest.mark.browser

Rivals = tuple[Scribe, Scribe]
TERSE = """Two questions about the same queue:

- **Latency**: how long do *I* wait? Measured in seconds, from my question to my answer.
- **Throughput**: how many of us are served? Measured in answers per second.

A bus has a worse latency than a taxi and a far better throughput. Which one you want depends on whether you are late, \
or many."""
CHOICES = {"A is better": "leftvote", "B is better": "rightvote", "Tie": "tievote", "Both are bad": "bothbad_vote"}


async def test_both_answers_stream_at_once_and_can_be_voted_on_when_both_are_there(
    open_tab: NewPage, rivals: Rivals
) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    for scribe in rivals:
        scribe.pen.clear()
    await ring.ask("good morning")
    for side in ring.sides:
        await expect(side.locator(".qc-wait")).to_be_visible()
    await expect(ring.vote("Tie")).to_be_disabled()
    rivals[0].pen.set()
    await expect(ring.all.locator(".qc-foot:not(.qc-live)")).to_have_count(1)
    await expect(ring.vote("Tie")).to_be_disabled()
    rivals[1].pen.set()
    await ring.settled()
    for side in ring.sides:
        await expect(side.locator(".bot.message").first).to_contain_text("You said: good morning")
        footer = re.compile(r"^queued [\d.]+ s · first token [\d.]+ s · [\d.]+ tok/s · 4 tokens$")
        await expect(side.locator(".qc-foot")).to_have_text(footer)
    await expect(ring.vote("Tie")).to_be_enabled()


@pytest.mark.parametrize(("label", "kind"), CHOICES.items())
async def test_a_vote_reveals_the_names_and_is_logged_once(
    open_tab: NewPage, rivals: Rivals, label: str, kind: str
) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.fought("good morning")
    await ring.vote(label).dblclick()
    await expect(ring.verdict).to_be_visible()
    await expect(ring.votes).to_have_count(0)
    row, *others = await lines(rivals[0].bus, kind, 1)
    assert not others
    assert row["models"] == ["", ""]
    names = [state["model_name"] for state in row["states"]]
    assert sorted(names) == list(RIVALS)
    for side, name in zip(ring.sides, names, strict=True):
        await expect(side.locator(".qc-head b")).to_have_text(name)
    assert [state["messages"] for state in row["states"]] == [
        [["user", "good morning"], ["assistant", "You said: good morning"]]
    ] * 2
    assert len(await lines(rivals[0].bus, "chat", 2)) == 2


async def test_names_are_nowhere_in_the_page_before_the_vote(open_tab: NewPage, rivals: Rivals) -> None:
    rivals[0].script = lambda job: Failure("engine_error", f"{job.model} is out of memory")
    page = await open_tab("arena")
    ring = Ring(page, "arena")
    await ring.ask("good morning")
    retry = ring.all.locator(".qc-retry:visible")
    await expect(retry).to_have_count(1)
    await expect(ring.all.locator(".qc-note")).to_have_text("This model could not answer. Retry, or start a new round.")
    await expect(ring.vote("Tie")).to_be_disabled()
    rivals[0].script = script
    await retry.click()
    await ring.settled()
    assert "secret" not in await ring.all.evaluate("element => element.outerHTML")
    assert "secret" not in await page.evaluate("JSON.stringify(localStorage)")
    await ring.vote("Tie").click()
    await expect(ring.verdict).to_contain_text("secret-ant")


async def test_no_byte_of_a_battle_names_the_models_before_the_vote(address: str, rivals: Rivals) -> None:
    rivals[0].script = lambda job: Failure("engine_error", f"{job.model} is out of memory")
    async with Visitor(address) as visitor:
        async with asyncio.timeout(20):
            while b"You said" not in visitor.heard:  # until the server has noticed both models
                visitor.heard.clear()
                await visitor.do("qc-arena-box", "submit", {"text": "good morning", "files": []})
        await visitor.do("qc-arena-regenerate", "click")
        assert visitor.heard.count(b"could not answer") >= 2
        assert b"secret" not in visitor.heard
        rivals[0].script = script
        await visitor.do("qc-arena-regenerate", "click")
        assert b"secret" not in visitor.heard
        await visitor.do("qc-arena-tievote", "click")
        assert b"secret-ant" in visitor.heard


async def test_a_new_round_begins_a_battle_of_its_own(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.fought("one")
    await ring.vote("Tie").click()
    await ring.button("fresh").click()
    await expect(ring.all.get_by_role("heading")).to_have_text("Which answer is better?")
    await ring.fought("two")
    await expect(ring.verdict).to_have_count(0)
    await expect(ring.sides[0].locator(".qc-head")).to_have_text(re.compile("Model A"))
    await ring.vote("A is better").click()
    await expect(ring.verdict).to_be_visible()
    ids = {row["battle_id"] for kind in ("tievote", "leftvote") for row in await lines(rivals[0].bus, kind, 1)}
    assert len(ids) == 2


async def test_a_new_round_in_the_middle_of_answers_stops_them_and_stays_new(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.ask("a long story")
    await expect(ring.all.locator(".qc-live")).to_have_count(2)
    await ring.button("fresh").click()
    await expect(ring.all.get_by_role("heading")).to_be_visible()
    await until_idle(rivals)
    await ring.fought("two")
    await expect(ring.sides[0].locator(".user.message")).to_have_count(1)


async def test_regenerate_asks_both_again_without_the_old_answers(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.fought("good morning")
    await ring.button("regenerate").click()
    async with asyncio.timeout(20):
        while any(len(scribe.jobs) < 2 for scribe in rivals):
            await asyncio.sleep(0.05)
    await ring.settled()
    for scribe in rivals:
        assert scribe.jobs[1].messages == [{"role": "user", "content": "good morning"}]


async def test_stop_keeps_both_partial_answers_and_cancels_the_jobs(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.ask("a long story")
    await expect(ring.all.locator(".qc-live")).to_have_count(2)
    await ring.page.locator("#qc-arena-box .stop-button").click()
    await ring.settled()
    for side in ring.sides:
        await expect(side.locator(".qc-foot")).to_contain_text("stopped")
        await expect(side.locator(".bot.message").first).to_contain_text("word0 word1")
    await expect(ring.vote("Tie")).to_be_enabled()
    await until_idle(rivals)


async def test_after_the_vote_the_talk_goes_on_by_name(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.fought("one")
    await ring.vote("Tie").click()
    await expect(ring.verdict).to_be_visible()
    await ring.ask("two")
    await ring.settled(2)
    for side, scribe in zip(ring.sides, _ordered(rivals, await ring.verdict.inner_text()), strict=True):
        await expect(side.locator(".qc-foot").last).to_contain_text(scribe.model)
        assert [m["content"] for m in scribe.jobs[1].messages or []] == ["one", "You said: one", "two"]
    await expect(ring.votes).to_have_count(0)


async def test_a_reload_brings_the_battle_back_still_hidden(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.fought("good morning")
    await ring.page.reload()
    await ring.settled()
    await expect(ring.sides[1].locator(".qc-head")).to_have_text(re.compile("Model B"))
    await ring.vote("B is better").click()
    await expect(ring.verdict).to_be_visible()
    assert len(await lines(rivals[0].bus, "rightvote", 1)) == 1


async def test_a_reload_in_the_middle_offers_to_ask_again(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.ask("a long story")
    await expect(ring.all.locator(".qc-live")).to_have_count(2)
    await ring.page.reload()
    await expect(ring.sides[0].locator(".user.message")).to_have_text("a long story")
    await until_idle(rivals)
    await expect(ring.button("regenerate")).to_be_enabled()


async def test_the_battle_is_shared_as_a_picture(open_tab: NewPage, rivals: Rivals, tmp_path: Path) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await ring.fought("What is the difference between latency and throughput?")
    await ring.vote("A is better").click()
    await expect(ring.verdict).to_be_visible()
    async with ring.page.expect_download() as downloading:
        await ring.button("share").click()
    download = await downloading.value
    assert download.suggested_filename == "queuechat-arena.png"
    await download.save_as(tmp_path / "battle.png")
    with Image.open(tmp_path / "battle.png") as picture:
        picture.load()
        halves = [picture.crop(box) for box in ((0, 200, 1200, picture.height), (1200, 200, 2400, picture.height))]
        assert (picture.format, picture.width) == ("PNG", 2400)
        assert all(len(half.convert("L").resize((300, 300)).getcolors(90_000) or []) > 20 for half in halves)
    row = (await lines(rivals[0].bus, "share", 1))[0]
    assert sorted(state["model_name"] for state in row["states"]) == list(RIVALS)
    await expect(ring.page.locator(".qc-studio")).to_have_count(0)


async def test_two_users_fight_at_once_and_apart(open_tab: NewPage, rivals: Rivals) -> None:
    ann, bob = Ring(await open_tab("arena"), "arena"), Ring(await open_tab("arena"), "arena")
    await ann.ask("a long story")
    await expect(ann.all.locator(".qc-live")).to_have_count(2)
    await bob.fought("I am Bob")
    await bob.vote("Tie").click()
    await expect(bob.verdict).to_be_visible()
    await expect(ann.all.locator(".qc-live")).to_have_count(2)
    await expect(ann.verdict).to_have_count(0)
    await expect(ann.page.get_by_text("I am Bob")).to_have_count(0)


async def test_with_one_model_the_page_says_what_to_do(open_tab: NewPage, rivals: Rivals) -> None:
    ring = Ring(await open_tab("arena"), "arena")
    await rivals[1].__aexit__(None, None, None)
    hint = ring.all.locator(".qc-hint").first
    await expect(hint).to_contain_text("A battle needs two models, and only secret-ant is served.")
    await ring.ask("anybody there?")
    await expect(ring.all.locator(".qc-hint")).to_have_count(2)
    await expect(ring.page.locator("#qc-arena-box textarea")).to_have_value("anybody there?")


async def test_the_arena_fits_every_window(open_tab: NewPage, rivals: Rivals) -> None:
    rivals[1].script = lambda job: TERSE
    page = await open_tab("arena")
    ring = Ring(page, "arena")
    await ring.fought("What is the difference between latency and throughput?")
    async for window in through(page):
        await expect(ring.sides[1].locator(".qc-head")).to_be_in_viewport()
        await expect(ring.vote("Both are bad")).to_be_in_viewport(ratio=1)
        if folder := os.environ.get("QUEUECHAT_SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / f"arena-{window}.png")


async def until_idle(rivals: Rivals) -> None:
    async with asyncio.timeout(20):
        for scribe in rivals:
            while (depth := await scribe.bus.depth(scribe.model)).waiting or depth.running:
                await asyncio.sleep(0.05)


def _ordered(rivals: Rivals, verdict: str) -> list[Scribe]:
    """The workers by their side, from "A is …, B is …"."""
    return sorted(rivals, key=lambda scribe: verdict.index(scribe.model))
