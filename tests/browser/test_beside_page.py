"""Two models by name. With QUEUECHAT_SCREENSHOTS=<folder> the picture of the docs is made too."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import RIVALS, NewPage, through
from tests.browser.duels import Ring, lines
from tests.browser.test_arena_page import TERSE
from tests.ui.scribe import Scribe

pytestmark = pytest.mark.browser

Rivals = tuple[Scribe, Scribe]


def chosen(ring: Ring, letter: str) -> Locator:
    return ring.page.locator(f"#qc-beside-model-{letter} input")


async def opened(open_tab: NewPage) -> Ring:
    """The tab, once it has two models chosen."""
    ring = Ring(await open_tab("compare"), "beside")
    await expect(chosen(ring, "a")).to_have_value(RIVALS[0])
    await expect(chosen(ring, "b")).to_have_value(RIVALS[1])
    return ring


async def choose(ring: Ring, letter: str, name: str) -> None:
    await chosen(ring, letter).click()
    await ring.page.get_by_role("option", name=name).click()


async def test_both_models_answer_and_the_vote_is_logged_by_name(open_tab: NewPage, rivals: Rivals) -> None:
    ring = await opened(open_tab)
    await expect(ring.votes).to_have_count(0)
    await ring.fought("good morning")
    for side, name in zip(ring.sides, RIVALS, strict=True):
        footer = re.compile(rf"^queued [\d.]+ s · first token [\d.]+ s · [\d.]+ tok/s · 4 tokens · {name}$")
        await expect(side.locator(".qc-foot")).to_have_text(footer)
    await ring.vote("B is better").click()
    await expect(ring.verdict).to_have_text("You found B better. Thank you.")
    (row,) = await lines(rivals[0].bus, "rightvote", 1)
    assert row["models"] == list(RIVALS)
    assert [state["model_name"] for state in row["states"]] == list(RIVALS)


async def test_another_model_begins_a_new_conversation(open_tab: NewPage, rivals: Rivals) -> None:
    ring = await opened(open_tab)
    await ring.fought("one")
    await choose(ring, "b", RIVALS[0])
    await expect(ring.all.get_by_role("heading")).to_be_visible()
    await ring.fought("two")
    for side in ring.sides:
        await expect(side.locator(".user.message")).to_have_text("two")
        await expect(side.locator(".qc-foot")).to_contain_text(RIVALS[0])
    assert [job.messages for job in rivals[0].jobs[-2:]] == [[{"role": "user", "content": "two"}]] * 2


async def test_a_conversation_of_many_turns_stays_apart_by_side(open_tab: NewPage, rivals: Rivals) -> None:
    rivals[1].script = lambda job: "No."
    ring = await opened(open_tab)
    await ring.fought("one")
    await ring.ask("two")
    await ring.settled(2)
    assert [[m["content"] for m in scribe.jobs[1].messages or []] for scribe in rivals] == [
        ["one", "You said: one", "two"],
        ["one", "No.", "two"],
    ]


async def test_a_reload_brings_back_models_and_conversation(open_tab: NewPage, rivals: Rivals) -> None:
    ring = await opened(open_tab)
    await choose(ring, "b", RIVALS[0])
    await ring.fought("one")
    await ring.page.reload()
    await ring.settled()
    await expect(chosen(ring, "b")).to_have_value(RIVALS[0])
    await ring.vote("Tie").click()
    await expect(ring.verdict).to_be_visible()


async def alone(open_tab: NewPage, rivals: Rivals) -> Ring:
    """The tab, opened while the page's server knows the first model only."""
    before = await opened(open_tab)
    await rivals[1].__aexit__(None, None, None)
    await expect(before.page.locator("#qc-status")).to_contain_text("1 model ")
    ring = Ring(await open_tab("compare", "1 model "), "beside")
    for letter in "ab":
        await expect(chosen(ring, letter)).to_have_value(RIVALS[0])
    return ring


async def test_a_model_that_stood_alone_makes_room_for_the_second(open_tab: NewPage, rivals: Rivals) -> None:
    ring = await alone(open_tab, rivals)
    await rivals[1].__aenter__()
    await expect(chosen(ring, "b")).to_have_value(RIVALS[1])
    await expect(chosen(ring, "a")).to_have_value(RIVALS[0])


async def test_a_model_that_has_answered_on_both_sides_stays_when_another_comes(
    open_tab: NewPage, rivals: Rivals
) -> None:
    ring = await alone(open_tab, rivals)
    await ring.fought("one")
    await rivals[1].__aenter__()
    await expect(ring.page.locator("#qc-status")).to_contain_text("2 models")
    await chosen(ring, "b").click()
    await expect(ring.page.get_by_role("option", name=RIVALS[1])).to_be_visible()
    await ring.page.keyboard.press("Escape")
    for letter in "ab":
        await expect(chosen(ring, letter)).to_have_value(RIVALS[0])


async def test_a_model_that_has_gone_is_still_the_one_that_was_chosen(open_tab: NewPage, rivals: Rivals) -> None:
    ring = await opened(open_tab)
    await ring.fought("one")
    await rivals[1].__aexit__(None, None, None)
    await expect(ring.page.locator("#qc-status")).to_contain_text("1 model ")
    await ring.ask("two")
    await expect(ring.sides[1].locator(".qc-note")).to_contain_text(f"No worker serves {RIVALS[1]} now")
    await expect(ring.sides[0].locator(".qc-foot:not(.qc-live)")).to_have_count(2)
    await expect(chosen(ring, "b")).to_have_value(RIVALS[1])
    await expect(ring.vote("Tie")).to_be_disabled()
    await expect(ring.sides[1].locator(".qc-retry")).to_be_visible()


async def test_the_conversation_is_shared_with_its_names(open_tab: NewPage) -> None:
    ring = await opened(open_tab)
    await ring.fought("one")
    async with ring.page.expect_download() as downloading:
        await ring.button("share").click()
    assert (await downloading.value).suggested_filename == "queuechat-beside.png"


async def test_the_tab_fits_every_window_before_and_after_answers(open_tab: NewPage, rivals: Rivals) -> None:
    rivals[1].script = lambda job: TERSE
    ring = await opened(open_tab)
    async for _ in through(ring.page):
        pass
    await ring.fought("What is the difference between latency and throughput?")
    async for window in through(ring.page):
        await expect(ring.vote("Both are bad")).to_be_in_viewport(ratio=1)
        if folder := os.environ.get("QUEUECHAT_SCREENSHOTS"):
            await ring.page.screenshot(path=Path(folder) / f"beside-{window}.png")
