"""How fast the page is: `python -m tests.browser.paint` prints when it is first painted, and how well it answers to
keys while a long answer is written at 100 tokens a second. On loopback, with a prepared worker, on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from queuechat.bus import Bus
from queuechat.protocol import Job
from queuechat.settings import load
from tests.browser.conftest import FLAGS, ready
from tests.conftest import a_redis, free_port
from tests.ui.scribe import Scribe
from ui.server import serve

_LOADS = 5
_RATE = 100
_TOKENS = 2500
_KEY_EACH_S = 0.2
_FRAME_MS = 1000 / 60

#: Times of keys until the next frame, gaps between frames, and tasks over 50 ms, all in ms.
_WATCH = """() => {
    const seen = window.seen = { keys: [], gaps: [], tasks: [] };
    new PerformanceObserver((list) => list.getEntries().forEach((one) => seen.tasks.push(one.duration)))
        .observe({ type: "longtask" });
    let before = performance.now();
    const tick = (now) => { seen.gaps.push(now - before); before = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
    document.addEventListener("keydown", (event) => {
        requestAnimationFrame(() => setTimeout(() => seen.keys.push(performance.now() - event.timeStamp)));
    }, true);
}"""
_PAINT = """() => new Promise((resolve) => new PerformanceObserver((list) => {
    const first = list.getEntriesByName("first-contentful-paint")[0];
    if (first) resolve(first.startTime);
}).observe({ type: "paint", buffered: true }))"""
_LOADED = """() => {
    const all = performance.getEntriesByType("resource");
    return [all.length, all.reduce((sum, one) => sum + one.transferSize, 0)];
}"""


def story(job: Job) -> str:
    """A long answer as models write them: paragraphs, a list, code, a table."""
    part = (
        "## Part\n\nA queue holds *what waits* and gives it out **in order**, so that nobody has to. It is `fair`.\n\n"
        "- first one thing\n- then the next\n\n```python\nfor job in queue:\n    run(job)  # one at a time\n```\n\n"
        "| wait | run |\n|---|---|\n| 1 s | 2 s |\n\n"
    )
    words = part.count(" ") + part.count("\n")
    return part * -(-_TOKENS // words)


@contextlib.asynccontextmanager
async def a_stage() -> AsyncIterator[tuple[str, Browser]]:
    """The page with a worker behind it, and a browser."""
    with tempfile.TemporaryDirectory() as folder, a_redis(Path(folder)) as url:
        port, stop = free_port(), asyncio.Event()
        serving = asyncio.create_task(serve(load(host="127.0.0.1", ui_port=port), url, stop))
        bus = await Bus(url).open()
        async with Scribe(bus, "smollm2", script=story, rate=_RATE), async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            yield f"http://127.0.0.1:{port}/", browser
            await browser.close()
        stop.set()
        await serving
        await bus.close()


async def first_paint(browser: Browser, address: str) -> tuple[float, float, int, int]:
    """A first visit: ms until something is painted and until the page can be used, requests, bytes."""
    context = await browser.new_context()
    page = await context.new_page()
    began = asyncio.get_running_loop().time()
    await page.goto(address, wait_until="commit")
    painted = float(await page.evaluate(_PAINT))
    await ready(page)
    usable = (asyncio.get_running_loop().time() - began) * 1000
    requests, size = await page.evaluate(_LOADED)
    await context.close()
    return painted, usable, requests, size


async def while_writing(browser: Browser, address: str) -> dict[str, list[float]]:
    """What keys, frames and tasks took while an answer was written."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(address)
    await ready(page)
    await page.locator("#qc-toggle").click()
    await page.locator("#qc-max-tokens input[type=number]").fill(str(_TOKENS))
    await page.locator("#qc-toggle").click()
    await page.locator("#qc-box textarea").fill("Tell me all about queues.")
    await page.locator("#qc-box textarea").press("Enter")
    await page.locator(".qc-live").wait_for()
    await page.evaluate(_WATCH)
    await _type_along(page)
    seen: dict[str, list[float]] = await page.evaluate("window.seen")
    await context.close()
    return seen


async def _type_along(page: Page) -> None:
    await page.locator("#qc-box textarea").focus()
    while await page.locator(".qc-live").count():
        await page.keyboard.press("x")
        await asyncio.sleep(_KEY_EACH_S)


def told(name: str, values: list[float]) -> str:
    """Median, 95th percentile and largest."""
    if not values:
        return f"{name}: none"
    ranked = sorted(values)
    p95 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))]
    return f"{name}: n={len(ranked)} median={statistics.median(ranked):.0f} p95={p95:.0f} max={ranked[-1]:.0f} ms"


async def main() -> None:
    async with a_stage() as (address, browser):
        await first_paint(browser, address)  # the server warms up
        visits = [await first_paint(browser, address) for _ in range(_LOADS)]
        print(told("first contentful paint", [visit[0] for visit in visits]))
        print(told("until it can be used", [visit[1] for visit in visits]))
        print(f"a first visit: {visits[0][2]} requests, {visits[0][3] / 1000:,.0f} kB")
        if "--paint" in sys.argv:
            return
        seen = await while_writing(browser, address)
        print(told("key to frame", seen["keys"]))
        print(told("frame to frame", seen["gaps"]))
        print(told("tasks over 50 ms", seen["tasks"]))
        late: Any = sum(gap - _FRAME_MS for gap in seen["gaps"] if gap > 50)
        print(f"time behind in gaps over 50 ms: {late / max(sum(seen['gaps']), 1):.1%}")


if __name__ == "__main__":
    asyncio.run(main())
