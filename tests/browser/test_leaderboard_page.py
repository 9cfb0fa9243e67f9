"""What somebody at the Leaderboard tab sees."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Page, expect

from queuechat.cleaning.completing import completed
from queuechat.leaderboard.battles import CleanBattle
from queuechat.leaderboard.building import Options, build
from queuechat.leaderboard.categories import BUILT_IN, Category
from queuechat.standings import publish
from tests.browser.conftest import WINDOWS, NewPage, through
from tests.leaderboard.synthetic import battle, battles_of, spread, votes_between
from tests.leaderboard.test_style import said
from tests.ui.scribe import Scribe

pytestmark = pytest.mark.browser

NAMES = ["smollm2", "qwen3-0.6b", "gemma-3-1b-it", "llama-3.2-1b-instruct", "mistral-7b-instruct-v0.3", "phi-4-mini"]
DAY = 86_400.0


def votes(count: int) -> list[CleanBattle]:
    """Over 40 days, half of them in German."""
    rng = np.random.default_rng(2)
    answers = ["word " * 40, "- one\n- **two**\n- three", "short"]
    drawn = battles_of(votes_between(spread(len(NAMES), 400), count, rng, 0.15), [f"v{k}" for k in range(30)])
    return [
        completed(
            replace(
                one,
                model_a=NAMES[int(one.model_a[1:])],
                model_b=NAMES[int(one.model_b[1:])],
                language="German" if k % 2 else "English",
                tstamp=1_760_000_000 + 40 * DAY * float(rng.beta(2, 1)),
                conversation_a=said("hello", answers[k % 3]),
                conversation_b=said("hello", answers[k % 2]),
            )
        )
        for k, one in enumerate(drawn)
    ]


CATEGORIES = [*BUILT_IN, Category("german", "German", languages=("german",))]


async def show_board(page: Page) -> None:
    await page.get_by_role("tab", name="Leaderboard").click()
    await expect(page.locator("#qc-lb-top")).to_be_visible()


async def test_before_any_vote_the_tab_says_where_votes_come_from(open_page: NewPage) -> None:
    page = await open_page()
    await show_board(page)
    await expect(page.locator("#qc-lb-top")).to_contain_text("No votes yet")
    await expect(page.locator("#qc-lb-kind")).to_be_hidden()


async def test_a_new_leaderboard_comes_to_a_page_that_is_open(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await show_board(page)
    evil = "<b>evil</b>"
    extra = [battle(evil, "smollm2"), battle("smollm2", evil), battle("lucky", "smollm2")]
    made = build([*votes(300), *extra], Options(rounds=20, categories=CATEGORIES))
    await publish(scribe.bus, made)
    await expect(page.locator(".qc-lb-table tbody tr")).to_have_count(8)
    await expect(page.locator(".qc-lb-table")).to_contain_text(evil)
    await expect(page.locator(".qc-lb-table")).to_contain_text("won all its battles")
    await expect(page.locator(".qc-lb-whiskers b")).to_have_count(7)
    await page.locator("#qc-lb-category input").click()
    await page.get_by_role("option", name="German").click()
    await expect(page.locator(".qc-lb-line").first).to_contain_text("German · 150 votes")
    await page.get_by_text("Battles", exact=True).click()
    await expect(page.locator(".qc-lb-heat td").nth(1)).to_have_text(str(_met(made)))


def _met(made: object) -> int:
    """Votes between the first two of the German table."""
    from queuechat.leaderboard.results import Leaderboard

    assert isinstance(made, Leaderboard)
    table = next(one for one in made.tables if one.category == "german")
    names = {one.model for one in table.standings[:2]}
    return sum(sum(row[2:]) for row in table.meetings if {table.models[row[0]], table.models[row[1]]} == names)


async def test_the_tab_fits_every_window(open_page: NewPage, scribe: Scribe) -> None:
    await publish(scribe.bus, build(votes(800), Options(rounds=50, style_control=True, categories=CATEGORIES)))
    page = await open_page()
    await show_board(page)
    await expect(page.locator(".qc-lb-table tbody tr")).to_have_count(6)
    await page.get_by_label("Style control").click()
    await expect(page.locator(".qc-lb-effects li")).to_have_count(4)
    await page.get_by_text("Wins so far", exact=True).click()
    await expect(page.locator(".qc-lb-heat td").nth(1)).to_contain_text("%")
    parts = "[...document.querySelectorAll('#qc-leaderboard > *')]"
    async for window in through(page, [(width, 1800, scheme) for width, _, scheme in WINDOWS]):
        await page.wait_for_function(f"{parts}.every(part => part.getBoundingClientRect().right <= innerWidth)")
        if folder := os.environ.get("QUEUECHAT_SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / f"leaderboard-{window}.png")
