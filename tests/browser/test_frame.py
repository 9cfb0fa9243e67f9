"""The page's frame: tabs with addresses of their own, on any window and by keys alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewPage, through
from tests.browser.test_chat_page import ask
from tests.ui.scribe import Scribe
from ui.app import TABS

pytestmark = pytest.mark.browser

CHOSEN = "#qc-tabs > .tab-wrapper [role=tab][aria-selected=true]"


async def choose(page: Page, slug: str) -> None:
    await page.locator(f"#qc-tab-{slug}-button").click()
    await expect(page.locator(CHOSEN)).to_have_attribute("data-tab-id", slug)


async def test_the_bare_address_opens_the_first_tab_and_stays_bare(open_page: NewPage, address: str) -> None:
    page = await open_page()
    await expect(page.locator(CHOSEN)).to_have_attribute("data-tab-id", TABS[0].slug)
    assert page.url == address
    assert await page.title() == "queuechat"


async def test_every_tab_has_an_address(open_page: NewPage, address: str) -> None:
    page = await open_page()
    for tab in TABS[1:]:
        await page.goto(f"{address}?{tab.slug}")
        await expect(page.locator(CHOSEN)).to_have_text(tab.label)
        await expect(page).to_have_title(f"{tab.label} · queuechat")
        assert page.url == f"{address}?{tab.slug}"
    await page.goto(f"{address}?direct")
    await expect(page.locator(CHOSEN)).to_have_text("Chat")


async def test_choosing_a_tab_changes_the_address_and_loads_nothing_anew(open_page: NewPage, address: str) -> None:
    page = await open_page()
    await page.evaluate("window.mark = 'still here'")
    await choose(page, "queues")
    await expect(page).to_have_url(f"{address}?queues")
    await choose(page, "about")
    await expect(page).to_have_url(f"{address}?about")
    await choose(page, "direct")
    await expect(page).to_have_url(address)
    assert await page.evaluate("window.mark") == "still here"


async def test_what_is_no_tab_of_ours_stays_in_the_address(open_page: NewPage, address: str) -> None:
    page = await open_page(query="?__theme=dark&queues&model=gone&%zz")
    await expect(page.locator(CHOSEN)).to_have_text("Queues")
    await choose(page, "about")
    await expect(page).to_have_url(f"{address}?about&__theme=dark&%25zz")


async def test_a_model_in_the_address_is_the_one_to_talk_to(open_page: NewPage, scribe: Scribe) -> None:
    async with Scribe(scribe.bus, "another"):
        for name in ("another", "smollm2"):
            page = await open_page(query=f"?model={name}")
            await expect(page.locator(CHOSEN)).to_have_text("Chat")
            await expect(page.locator("#qc-model input")).to_have_value(name)


async def test_tabs_are_walked_by_the_arrow_keys(open_page: NewPage) -> None:
    page = await open_page()
    await page.locator(CHOSEN).focus()
    for tab in (*TABS[1:], TABS[0]):
        await page.keyboard.press("ArrowRight")
        await expect(page.locator(f"{CHOSEN}:focus")).to_have_text(tab.label)
    await page.keyboard.press("End")
    await expect(page.locator(f"{CHOSEN}:focus")).to_have_text(TABS[-1].label)
    assert await page.locator("#qc-tabs > .tab-wrapper [role=tab][tabindex='0']").count() == 1


async def test_an_answer_goes_on_behind_another_tab(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    scribe.pen.clear()
    await ask(page, "good morning")
    await expect(page.locator(".qc-wait")).to_be_visible()
    await choose(page, "queues")
    scribe.pen.set()
    await expect(page.locator(".qc-q-card")).to_be_visible()
    await choose(page, "direct")
    await expect(page.locator(".bot.message")).to_contain_text("You said: good morning")
    await expect(page.locator(".qc-foot:not(.qc-live)")).to_be_visible()


async def test_every_tab_fits_every_window_and_scrolls_only_its_content(open_page: NewPage) -> None:
    page = await open_page()
    for tab in TABS:
        await choose(page, tab.slug)
        await expect(page.locator(f"#qc-tab-{tab.slug}")).to_be_visible()
        async for _ in through(page):
            await expect(page.locator(f"#qc-tab-{tab.slug}-button")).to_be_in_viewport(ratio=1)
            await page.wait_for_function(
                "(slug) => document.documentElement.scrollHeight <= innerHeight && Math.abs(innerHeight"
                " - document.getElementById(`qc-tab-${slug}`).getBoundingClientRect().bottom) < 2",
                arg=tab.slug,
            )


async def test_the_about_tab_says_what_is_served_and_where_programs_ask(open_page: NewPage) -> None:
    page = await open_page(query="?about")
    about = page.locator(".qc-about")
    await expect(about).to_contain_text("smollm2")
    await expect(about).to_contain_text("4,096 tokens")
    await expect(about.get_by_role("link")).to_have_attribute("href", "http://127.0.0.1:8000/docs")
    await expect(about).to_contain_text(re.compile("Conversations of the Chat tab are written to the log"))
    if folder := os.environ.get("QUEUECHAT_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / "about-1280-light.png")
