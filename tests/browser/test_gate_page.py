"""Login, terms of use and limits, as somebody at the page meets them. QUEUECHAT_SCREENSHOTS=<folder> makes pictures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from queuechat.accounts import add_person
from queuechat.bus import Bus
from tests.browser.conftest import ready, resize, through
from tests.browser.test_chat_page import ask, settled
from tests.ui.gate.page import a_site
from tests.ui.scribe import Scribe

pytestmark = pytest.mark.browser

EXTREMES = ((1280, 800, "light"), (390, 800, "dark"))
TERMS = """\
Be **kind**, and send nothing secret: what you ask and what you vote is kept.

- Answers may be wrong. Do not rely on them.
- What others may see of you is a pseudonym. [More](https://example.org/privacy)

<img src=x onerror="document.title = 'broken into'">
"""


@contextlib.asynccontextmanager
async def a_page(browser: Browser, redis_url: str, **settings: Any) -> AsyncIterator[Page]:
    """A browser of its own at a page of its own, whose worker answers."""
    bus = await Bus(f"{redis_url}/8", patience_s=60).open()
    await bus.connection.command("FLUSHDB")
    context = await browser.new_context()
    async with Scribe(bus, "smollm2"), a_site(f"{redis_url}/8", **settings) as site:
        page = await context.new_page()
        await resize(page, EXTREMES[0])
        await page.goto(site.url)
        yield page
        await context.close()
    await bus.close()


async def photograph(page: Page, name: str) -> None:
    if folder := os.environ.get("QUEUECHAT_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def test_somebody_logs_in_asks_and_logs_out(browser: Browser, redis_url: str, tmp_path: Path) -> None:
    add_person(tmp_path / "people", "ann", "correct horse")
    rules = {"ui_login": "password", "people_file": tmp_path / "people"}
    async with a_page(browser, redis_url, **rules) as page:
        await page.get_by_label("Name").fill("ann")
        await page.get_by_label("Password").fill("wrong horse")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
        await expect(page.get_by_label("Name")).to_have_value("ann")
        for window in EXTREMES:
            await resize(page, window)
            await page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
            await photograph(page, f"login-{window[0]}-{window[2]}")
        await page.get_by_label("Password").fill("correct horse")
        await page.get_by_label("Password").press("Enter")
        await ready(page)
        await ask(page, "good morning")
        await settled(page, 1)
        await expect(page.locator(".bot.message")).to_contain_text("You said: good morning")
        async for name in through(page, EXTREMES):
            await photograph(page, f"logged-in-{name}")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("button", name="Log in")).to_be_visible()
        assert page.url.endswith("/login")


async def test_terms_are_accepted_once_before_the_first_question(
    browser: Browser, redis_url: str, tmp_path: Path
) -> None:
    terms = tmp_path / "terms.md"
    terms.write_text(TERMS)
    async with a_page(browser, redis_url, ui_terms=terms) as page:
        dialog = page.get_by_role("dialog", name="Terms of use")
        await expect(dialog.locator("strong")).to_have_text("kind")
        await ready(page)
        async for name in through(page, EXTREMES):
            await expect(dialog.get_by_role("button", name="Accept")).to_be_in_viewport(ratio=1)
            await photograph(page, f"terms-{name}")
        await dialog.get_by_role("button", name="Not now").click()
        await expect(dialog).to_be_hidden()
        await page.locator("#qc-box textarea").click()
        await dialog.get_by_role("button", name="Accept").click()
        await expect(page.locator("#qc-terms")).to_have_count(0)
        await ask(page, "good morning")
        await settled(page, 1)
        accepted = page.expect_response("**/terms")
        async with accepted as answer:
            await page.reload()
        assert (await answer.value).status == 204
        await page.locator("#qc-box textarea").wait_for()
        await expect(page.locator("#qc-terms")).to_have_count(0)
        assert await page.title() == "queuechat"


async def test_a_limit_is_told_beside_the_question_and_the_question_stays(browser: Browser, redis_url: str) -> None:
    async with a_page(browser, redis_url, ui_rpm=1, ui_question_limit=30) as page:
        await ready(page)
        await ask(page, "x" * 31)
        await expect(page.locator(".qc-note")).to_have_text(
            "Your question has 31 characters and may have 30: shorten it."
        )
        await ask(page, "good morning")
        await settled(page, 1)
        await ask(page, "good evening")
        await expect(page.locator(".qc-note").last).to_contain_text("You may ask 1 question a minute. Ask again in")
        await expect(page.locator(".user.message").last).to_contain_text("good evening")
        await photograph(page, "limits")
