"""What somebody at the page sees. With QUEUECHAT_SCREENSHOTS=<folder> the pictures of the README are made too."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.async_api import Page, expect

from queuechat.backlog import read_lines
from queuechat.bus import Bus
from tests.browser.conftest import NewPage, through
from tests.ui.scribe import Scribe

pytestmark = pytest.mark.browser

FOOTER = re.compile(r"queued [\d.]+ s · first token [\d.]+ s · [\d.]+ tok/s · \d+ tokens · smollm2")


async def ask(page: Page, text: str) -> None:
    await page.locator("#qc-box .submit-button").wait_for()
    await page.locator("#qc-box textarea").fill(text)
    await page.locator("#qc-box textarea").press("Enter")


async def choose(page: Page, model: str) -> None:
    """Pick a model; it may just have come."""
    chooser, option = page.locator("#qc-model input"), page.get_by_role("option", name=model)
    async with asyncio.timeout(20):
        while not await option.count():  # the list follows the workers, but not while it is open
            await chooser.blur()
            await page.wait_for_timeout(300)
            await chooser.click()
    await option.click()


async def settled(page: Page, number: int) -> None:
    await expect(page.locator(".qc-foot:not(.qc-live)")).to_have_count(number)


async def until_idle(scribe: Scribe) -> None:
    async with asyncio.timeout(20):
        while (depth := await scribe.bus.depth(scribe.model)).waiting or depth.running:
            await asyncio.sleep(0.05)


async def test_an_answer_streams_in_and_gets_a_footer(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    scribe.pen.clear()
    await ask(page, "good morning")
    await expect(page.locator(".qc-wait")).to_be_visible()
    scribe.pen.set()
    await expect(page.locator(".bot.message")).to_contain_text("You said: good morning")
    await settled(page, 1)
    await expect(page.locator(".qc-foot")).to_have_text(FOOTER)
    await expect(page.locator("#qc-box textarea")).to_have_value("")


async def test_markdown_code_and_formulas_are_set(open_page: NewPage) -> None:
    page = await open_page()
    await ask(page, "What is the difference between latency and throughput?")
    await settled(page, 1)
    for selector in ("table", "pre code", ".katex-display", "strong"):
        await expect(page.locator(f".bot.message {selector}").first).to_be_visible()


async def test_a_picture_in_an_answer_is_not_fetched_from_elsewhere(open_page: NewPage) -> None:
    page = await open_page()
    await page.evaluate(
        "addEventListener('securitypolicyviolation', (event) => { window.blocked = event.blockedURI }, true)"
    )
    calls: list[object] = []
    async with await asyncio.start_server(lambda *call: calls.append(call), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await ask(page, f"![spy](http://127.0.0.1:{port}/spy.png)")
        await page.wait_for_function("window.blocked")
    assert f":{port}" in await page.evaluate("window.blocked")
    assert calls == []


async def test_stop_keeps_the_partial_answer_and_cancels_the_job(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await ask(page, "a long story")
    await expect(page.locator(".qc-live")).to_be_visible()
    await page.locator("#qc-box .stop-button").click()
    await settled(page, 1)
    await expect(page.locator(".qc-foot")).to_contain_text("stopped")
    await expect(page.locator(".bot.message")).to_contain_text("word0 word1")
    await until_idle(scribe)


async def test_regenerate_asks_again_without_the_old_answer(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await ask(page, "good morning")
    await settled(page, 1)
    await page.get_by_label("Retry").click()
    async with asyncio.timeout(20):
        while len(scribe.jobs) < 2:
            await asyncio.sleep(0.05)
    await settled(page, 1)
    assert scribe.jobs[1].messages == [{"role": "user", "content": "good morning"}]


async def test_the_model_reads_the_conversation_without_footers(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await ask(page, "one")
    await settled(page, 1)
    await ask(page, "two")
    await settled(page, 2)
    assert [m["content"] for m in scribe.jobs[1].messages or []] == ["one", "You said: one", "two"]


async def test_an_edited_question_is_asked_again_and_what_came_after_it_is_left_behind(
    open_page: NewPage, scribe: Scribe
) -> None:
    page = await open_page()
    for number, question in enumerate(["one", "is 1 < 2?", "three"], 1):
        await ask(page, question)
        await settled(page, number)
    await edit(page, 1, "is 2 < 3?")
    await edit(page, 0, "first")
    await settled(page, 1)
    assert [m["content"] for m in scribe.jobs[3].messages or []] == ["one", "You said: one", "is 2 < 3?"]
    assert [m["content"] for m in scribe.jobs[4].messages or []] == ["first"]


async def edit(page: Page, number: int, text: str) -> None:
    """Change a question where it stands."""
    await page.locator(".user-row").nth(number).hover()
    await page.get_by_label("Edit").nth(number).click()
    await page.locator("#qc-bot textarea").fill(text)
    await page.get_by_label("Submit").first.click()
    await expect(page.locator(".bot-row").last).to_contain_text(f"You said: {text}")
    await settled(page, number + 1)


async def test_thoughts_are_open_while_they_last_and_folded_after(open_page: NewPage, redis_url: str) -> None:
    bus = await Bus(f"{redis_url}/6", patience_s=60).open()
    page = await open_page()
    said = f"<think> Let me see. {'Well. ' * 400}</think> It is **two**."
    async with Scribe(bus, "thinker", script=lambda _: said, rate=20, reasoning="think") as thinker:
        await choose(page, "thinker")
        await ask(page, "one and one?")
        await expect(page.get_by_text("Let me see")).to_be_visible()
        thinker.rate = 0  # now at once
        await settled(page, 1)
        await expect(page.get_by_text("Let me see")).not_to_be_visible()
        await page.get_by_role("button", name="Thoughts").click()
        await expect(page.get_by_text("Let me see")).to_be_visible()
        await ask(page, "sure?")
        await settled(page, 2)
    assert [m["content"] for m in thinker.jobs[1].messages or []] == ["one and one?", "It is **two**.", "sure?"]
    await bus.close()


async def test_votes_and_flags_on_answers_are_written_to_the_log(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await ask(page, "one")
    await settled(page, 1)
    await logged(scribe.bus, ["chat"])
    await page.get_by_label("Like", exact=True).click()
    rows = await logged(scribe.bus, ["chat", "upvote"])
    assert rows[1]["state"]["messages"] == [["user", "one"], ["assistant", "You said: one"]]
    assert rows[0]["state"]["conv_id"] == rows[1]["state"]["conv_id"]
    assert rows[1]["model"] == "smollm2"


async def logged(bus: Bus, kinds: list[str]) -> list[dict[str, Any]]:
    """The lines of the log, once they are of these kinds."""
    async with asyncio.timeout(20):
        while True:
            rows = [orjson.loads(entry.line) for entry in await read_lines(bus, 10)]
            if [row["type"] for row in rows] == kinds:
                return rows
            await asyncio.sleep(0.05)


async def test_a_reload_cancels_what_runs_and_shows_what_was_said(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await ask(page, "one")
    await settled(page, 1)
    await ask(page, "a long story")
    await expect(page.locator(".qc-live")).to_be_visible()
    await page.reload()
    await until_idle(scribe)
    await expect(page.locator(".user.message")).to_have_count(2)
    await expect(page.locator(".bot.message").first).to_contain_text("You said: one")


async def test_two_users_are_answered_at_once_and_apart(open_page: NewPage) -> None:
    ann, bob = await open_page(), await open_page()
    await ask(ann, "a long story")
    await expect(ann.locator(".qc-live")).to_be_visible()
    await ask(bob, "I am Bob")
    await settled(bob, 1)
    await expect(bob.locator(".bot.message")).to_contain_text("You said: I am Bob")
    await expect(ann.locator(".qc-live")).to_be_visible()
    await expect(ann.get_by_text("I am Bob")).to_have_count(0)


async def test_what_is_copied_is_the_answer_alone(open_page: NewPage) -> None:
    page = await open_page()
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await ask(page, "good morning")
    await settled(page, 1)
    await page.locator(".bot-row + .message-buttons button").first.click()
    await page.wait_for_function("navigator.clipboard.readText().then((text) => text !== '')")
    assert await page.evaluate("navigator.clipboard.readText()") == "You said: good morning"


async def test_settings_reach_the_job(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await page.locator("#qc-toggle").click()
    await page.locator("#qc-system textarea").fill("Be brief.")
    await page.locator("#qc-seed textarea, #qc-seed input").fill("42")
    await ask(page, "hello")
    await settled(page, 1)
    assert (scribe.jobs[0].messages or [])[0] == {"role": "system", "content": "Be brief."}
    assert scribe.jobs[0].sampling.seed == 42


async def test_the_page_fits_every_window(open_page: NewPage) -> None:
    page = await open_page()
    await ask(page, "Good morning!")
    await settled(page, 1)
    await ask(page, "What is the difference between latency and throughput?")
    await settled(page, 2)
    await page.locator("#qc-box .submit-button").wait_for()
    async for window in through(page):
        await page.wait_for_function(
            "document.querySelector('#qc-tools').getBoundingClientRect().bottom <= innerHeight"
        )
        if folder := os.environ.get("QUEUECHAT_SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / f"chat-{window}.png")
