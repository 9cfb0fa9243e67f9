"""Conversations that a browser keeps: listed, picked up, exported, let go, through reloads and restarts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from queuechat.settings import load
from tests.browser.conftest import NewPage, ready
from tests.browser.test_chat_page import ask, settled, until_idle
from tests.conftest import free_port
from tests.ui.scribe import Scribe
from ui.server import serve

pytestmark = pytest.mark.browser


async def begin(page: Page) -> None:
    await page.locator(".qc-shelf-new").click()
    await expect(page.locator(".message-row")).to_have_count(0)


async def listed(page: Page, titles: list[str]) -> None:
    await expect(page.locator(".qc-kept-pick")).to_have_text(titles)


async def test_conversations_are_listed_and_picked_up_where_they_were_left(open_page: NewPage, scribe: Scribe) -> None:
    page = await open_page()
    await ask(page, "one < 2")
    await settled(page, 1)
    await begin(page)
    await ask(page, "two")
    await settled(page, 1)
    await listed(page, ["two", "one < 2"])
    await page.get_by_role("button", name="one < 2", exact=True).click()
    await expect(page.locator(".bot.message")).to_contain_text("You said: one < 2")
    await ask(page, "more")
    await settled(page, 2)
    assert [m["content"] for m in scribe.jobs[2].messages or []] == ["one < 2", "You said: one < 2", "more"]
    await listed(page, ["one < 2", "two"])
    await page.reload()
    await settled(page, 2)
    await page.locator(".qc-kept.current").hover()
    await page.get_by_label("Delete one < 2").click()
    await expect(page.locator(".qc-hello")).to_be_visible()
    await listed(page, ["two"])
    await page.reload()
    await listed(page, ["two"])
    await expect(page.locator(".qc-hello")).to_be_visible()


async def test_who_leaves_an_answer_in_its_middle_finds_what_there_was_of_it(
    open_page: NewPage, scribe: Scribe
) -> None:
    page = await open_page()
    await ask(page, "a long story")
    await expect(page.locator(".bot.message")).to_contain_text("word0 word1")
    await begin(page)
    await until_idle(scribe)
    await page.get_by_role("button", name="a long story", exact=True).click()
    await expect(page.locator(".bot.message")).to_contain_text("word0 word1")
    await expect(page.locator(".qc-foot")).to_contain_text("stopped")


async def test_history_survives_a_restart_of_the_server(browser: Browser, redis_url: str, scribe: Scribe) -> None:
    port, context = free_port(), await browser.new_context()
    settings = load(host="127.0.0.1", ui_port=port)
    page = await context.new_page()
    for number in range(2):
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(settings, f"{redis_url}/6", stop))
        await opened(page, f"http://127.0.0.1:{port}/")
        await settled(page, number)
        await ask(page, f"question {number}")
        await settled(page, number + 1)
        stop.set()
        await serving
    assert len(scribe.jobs[1].messages or []) == 3
    await context.close()


async def opened(page: Page, address: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await page.goto(address)
                break
            except Exception:
                await asyncio.sleep(0.1)
    await ready(page)


async def test_two_pages_of_a_browser_do_not_write_over_each_other(open_page: NewPage) -> None:
    ann = await open_page()
    await ask(ann, "from Ann")
    await settled(ann, 1)
    bob = await ann.context.new_page()
    await bob.goto(ann.url)
    await ready(bob)
    await expect(bob.locator(".qc-hello")).to_be_visible()
    await ask(bob, "from Bob")
    await settled(bob, 1)
    await listed(ann, ["from Bob", "from Ann"])
    await bob.get_by_role("button", name="from Ann", exact=True).click()
    await expect(bob.locator(".bot.message")).to_contain_text("from Ann")
    await ask(bob, "more from Bob")
    await settled(bob, 2)
    await ask(ann, "more from Ann")
    await settled(ann, 2)
    await listed(bob, ["from Ann", "from Ann", "from Bob"])
    await bob.reload()
    await expect(bob.locator(".user.message").last).to_have_text("more from Bob")


async def test_the_oldest_conversation_is_let_go_and_the_page_says_so(open_page: NewPage) -> None:
    page = await open_page()
    await page.evaluate("window.queuechatShelf.limits.count = 2")
    for question in ("one", "two", "three"):
        await begin(page)
        await ask(page, question)
        await settled(page, 1)
    await listed(page, ["three", "two"])
    await expect(page.locator(".qc-shelf-note")).to_contain_text("the oldest conversation was let go")
    await page.get_by_label("Understood").click()
    await expect(page.locator(".qc-shelf-note")).to_have_count(0)


async def test_what_older_pages_have_kept_is_taken_over(open_page: NewPage) -> None:
    page = await open_page()
    old = [{"question": "from before", "answer": "yes", "footer": "", "notice": ""}]
    await page.evaluate(
        "(sealed) => localStorage.setItem('queuechat.conversation', sealed)", await sealed(page, json.dumps(old))
    )
    await page.reload()
    await listed(page, ["from before"])
    await page.reload()
    await listed(page, ["from before"])
    await page.get_by_role("button", name="from before", exact=True).click()
    await expect(page.locator(".bot.message")).to_contain_text("yes")


async def sealed(page: Page, text: str) -> str:
    """As Gradio's BrowserState writes it: AES with OpenSSL's key derivation."""
    phrase, salt, key = hashlib.sha256(b"queuechat").hexdigest().encode(), b"saltsalt", b""
    while len(key) < 48:
        key += hashlib.md5(key[-16:] + phrase + salt).digest()
    encrypt = """async ([key, iv, text]) => {
        const made = await crypto.subtle.importKey("raw", new Uint8Array(key), "AES-CBC", false, ["encrypt"]);
        const name = { name: "AES-CBC", iv: new Uint8Array(iv) };
        return [...new Uint8Array(await crypto.subtle.encrypt(name, made, new TextEncoder().encode(text)))];
    }"""
    closed = bytes(await page.evaluate(encrypt, [list(key[:32]), list(key[32:]), text]))
    return f"{base64.b64encode(bytes(16)).decode()}:{base64.b64encode(b'Salted__' + salt + closed).decode()}"


async def test_a_conversation_is_exported_as_markdown_and_as_openai_messages(open_page: NewPage) -> None:
    page = await open_page()
    await ask(page, "Good morning!")
    await settled(page, 1)
    assert await exported(page, "Markdown") == (
        "good-morning-.md",
        "## You\n\nGood morning!\n\n## smollm2\n\nYou said: Good morning!\n",
    )
    name, text = await exported(page, "JSON")
    assert name == "good-morning-.json"
    assert [list(message.values()) for message in json.loads(text)["messages"]] == [
        ["user", "Good morning!"],
        ["assistant", "You said: Good morning!"],
    ]


async def exported(page: Page, kind: str) -> tuple[str, str]:
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name=kind, exact=True).click()
    file = await waiting.value
    return file.suggested_filename, await asyncio.to_thread(Path(await file.path()).read_text)
