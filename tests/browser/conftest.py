"""The real page, a prepared worker behind a real Redis, and headless Chromium in front."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect

from queuechat.bus import Bus
from queuechat.protocol import Job
from queuechat.settings import load
from tests.ui.scribe import Scribe, echo
from ui.server import serve

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]

expect.set_options(timeout=20_000)  # a loaded machine is slow, not wrong

RICH = Path(__file__).with_name("rich.md").read_text()

NewPage = Callable[..., Awaitable[Page]]

WINDOWS = ((1280, 800, "light"), (1280, 800, "dark"), (390, 844, "light"))


def script(job: Job) -> str:
    """Long, rich or echoed answers, by the last question."""
    assert job.messages
    question = str(job.messages[-1]["content"])
    if "long" in question:
        return " ".join(f"word{n}" for n in range(5000))
    return RICH if "latency" in question else echo(job)


@pytest.fixture(scope="session")
async def address(redis_url: str) -> AsyncIterator[str]:
    """Where the page is; it ends with the session as it does at SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = asyncio.Event()
    serving = asyncio.create_task(
        serve(load(host="127.0.0.1", ui_port=port, record_chats=True), f"{redis_url}/6", stop)
    )
    while not serving.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    stop.set()
    await asyncio.wait_for(serving, 10)


@pytest.fixture
async def scribe(address: str, redis_url: str) -> AsyncIterator[Scribe]:
    # Patient: the page lives on this loop too, and holds it up for seconds when it is first drawn.
    bus = await Bus(f"{redis_url}/6", patience_s=60).open()
    await bus.connection.command("FLUSHDB")  # nothing of the test before
    async with Scribe(bus, "smollm2", script=script, rate=80) as worker:
        yield worker
    await bus.close()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on PATH: the page cannot be driven")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        await opened.close()


async def ready(page: Page) -> None:
    """Wait until a page can be used."""
    await page.locator("#qc-model input").wait_for()
    await page.wait_for_function("document.querySelector('#qc-model input').value === 'smollm2'")


@pytest.fixture(scope="session")
async def left(browser: Browser) -> AsyncIterator[list[Page]]:
    """Pages that nobody uses now: one that showed ours before is usable in half the time of a new one."""
    pages: list[Page] = []
    yield pages
    for page in pages:
        await page.context.close()


@pytest.fixture
async def new_page(browser: Browser, left: list[Page]) -> AsyncIterator[NewPage]:
    """Makes pages of separate users; at the end, none of them may have asked another machine for anything."""
    hosts: set[str | None] = set()
    pages: list[Page] = []

    def note(request: Request) -> None:
        hosts.add(urlsplit(request.url).hostname)

    async def made() -> Page:
        page = left.pop() if left else await (await browser.new_context()).new_page()
        pages.append(page)
        page.context.on("request", note)
        await resize(page, WINDOWS[0])
        return page

    yield made
    for page in pages:
        page.context.remove_listener("request", note)
        await forget(page)
        left.append(page)
    assert hosts <= {"127.0.0.1", None}


async def forget(page: Page) -> None:
    """Leave nothing in its browser that the next user could find."""
    for other in page.context.pages:
        if other is not page:
            await other.close()
    origin = await page.evaluate("origin")
    if origin != "null":
        await page.evaluate("sessionStorage.clear()")
    await page.goto("about:blank")
    session = await page.context.new_cdp_session(page)
    await session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    await session.detach()
    await page.context.clear_cookies()
    await page.context.clear_permissions()


async def resize(page: Page, window: tuple[int, int, str]) -> None:
    """Give a page the window of another machine, whose colours may be others too."""
    width, height, scheme = window
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")


async def through(page: Page, windows: Sequence[tuple[int, int, str]] = WINDOWS) -> AsyncIterator[str]:
    """One page in each of these windows in turn, once it fits there and has its colours; yields the window's name."""
    for width, height, scheme in windows:
        await resize(page, (width, height, scheme))
        await page.wait_for_function(
            "([width, dark]) => innerWidth === width && document.body.classList.contains('dark') === dark"
            " && document.documentElement.scrollWidth <= innerWidth",
            arg=[width, scheme == "dark"],
        )
        yield f"{width}-{scheme}"


@pytest.fixture
async def open_page(new_page: NewPage, address: str, scribe: Scribe) -> NewPage:
    """Opens the chat, or what the address asks for."""

    async def opened(query: str = "") -> Page:
        page = await new_page()
        await page.goto(address + query)
        if query:  # maybe of another tab than the chat
            await page.locator("#qc-tabs [role=tab]").first.wait_for()
            return page
        await ready(page)
        return page

    return opened


RIVALS = ("secret-ant", "secret-bee")


@pytest.fixture
async def rivals(address: str, redis_url: str) -> AsyncIterator[tuple[Scribe, Scribe]]:
    """Two models with a worker each, and no others."""
    bus = await Bus(f"{redis_url}/6", patience_s=60).open()
    await bus.connection.command("FLUSHDB")
    ant, bee = (Scribe(bus, name, script=script, rate=80) for name in RIVALS)
    async with ant, bee:
        yield ant, bee
    await bus.close()


@pytest.fixture
async def open_tab(new_page: NewPage, address: str, rivals: tuple[Scribe, Scribe]) -> NewPage:
    """Opens a tab of duels."""

    async def opened(tab: str, live: str = "2 models") -> Page:
        page = await new_page()
        await page.goto(f"{address}?{tab}")
        await expect(page.locator("#qc-status")).to_contain_text(live)
        return page

    return opened
