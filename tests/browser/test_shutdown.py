"""The page's process ends in seconds, however many pages are open and answers run."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, expect

from queuechat.settings import load
from tests.browser.test_chat_page import ask, until_idle
from tests.conftest import free_port
from tests.ui.scribe import Scribe
from ui.server import serve

pytestmark = pytest.mark.browser


async def test_an_open_page_does_not_hold_up_the_shutdown(browser: Browser, redis_url: str, scribe: Scribe) -> None:
    port, stop = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve(load(host="127.0.0.1", ui_port=port), f"{redis_url}/6", stop))
    context = await browser.new_context()
    page = await context.new_page()
    async with asyncio.timeout(30):
        while not serving.done():
            try:
                await page.goto(f"http://127.0.0.1:{port}/")
                break
            except Exception:
                await asyncio.sleep(0.1)
    await page.wait_for_function("document.querySelector('#qc-model input')?.value === 'smollm2'")
    await ask(page, "a long story")
    await expect(page.locator(".qc-live")).to_be_visible()
    stop.set()
    async with asyncio.timeout(6):
        await serving
    await until_idle(scribe)
    await context.close()
