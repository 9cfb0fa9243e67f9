"""What somebody at the Queues tab sees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from queuechat import keys
from queuechat.protocol import Job, new_id
from tests.browser.conftest import NewPage
from tests.browser.test_frame import choose
from tests.ui.scribe import Scribe
from ui.queues import view

pytestmark = pytest.mark.browser


def number(page: Page, name: str) -> Locator:
    return page.locator(".qc-q-card dl div").filter(has_text=name).locator("dd")


async def enqueue(scribe: Scribe, count: int) -> list[str]:
    jobs = [Job(new_id(), scribe.model, messages=[{"role": "user", "content": "hi"}]) for _ in range(count)]
    for job in jobs:
        await scribe.bus.enqueue([job], limit=0, grace_s=0)
    return [job.id for job in jobs]


async def test_it_shows_what_waits_and_runs_as_it_changes(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page(query="?queues")
    await expect(page.locator(".qc-q-card h2")).to_have_text(["smollm2"])  # those of the test before are gone
    await expect(number(page, "Waiting")).to_have_text("0")
    scribe.gate.clear()
    ids = await enqueue(scribe, 3)
    await expect(number(page, "Waiting")).to_have_text("3")
    await expect(number(page, "Arrive")).not_to_have_text("0/s")
    await scribe.bus.cancel(scribe.model, ids[:2])
    await expect(number(page, "Waiting")).to_have_text("1")
    scribe.gate.set()
    await expect(number(page, "Waiting")).to_have_text("0")
    await expect(page.locator(".qc-q-card svg")).to_have_count(2)
    await expect(page.locator(".qc-q-workers .id")).to_have_text(scribe.worker)


async def test_dead_letters_are_shown_without_giving_their_answers_away(open_page: NewPage, scribe: Scribe) -> None:
    id, evil = new_id(), "<img src=x onerror='window.caught=1'>"
    fields = ("id", id, "tokens", 3, "crashes", 5, "worker", evil, "tenant", "its-tenant")
    await scribe.bus.connection.command("XADD", keys.dead(scribe.model), "*", *fields)
    page = await open_page(query="?queues")
    dead = page.locator(".qc-q-dead")
    await expect(dead).to_contain_text("1 dead letter")
    await expect(dead).to_contain_text(f"{id[:8]}… 5 workers died of it in a row, after 3 tokens, the last was {evil}")
    assert await page.evaluate("window.caught") is None
    content = await page.content()
    assert id not in content  # who knows it may read the answer
    assert "its-tenant" not in content


async def test_nobody_is_asked_while_the_tab_is_not_seen(
    open_page: NewPage, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, draw = asyncio.Queue[None](), view.page

    def counted(*args: Any, **more: Any) -> str:
        drawn.put_nowait(None)
        return draw(*args, **more)

    monkeypatch.setattr(view, "page", counted)
    page = await open_page()
    for _ in range(3):  # the page's own clock has ticked
        async with page.expect_request("**/gradio_api/**"):
            pass
    assert drawn.empty()
    await choose(page, "queues")
    for _ in range(2):
        await asyncio.wait_for(drawn.get(), 20)
    await choose(page, "direct")
    await page.wait_for_load_state()
    while not drawn.empty():
        drawn.get_nowait()
    for _ in range(3):
        async with page.expect_request("**/gradio_api/**"):
            pass
    assert drawn.qsize() <= 1  # one may have been on its way
