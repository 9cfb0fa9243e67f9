"""What tests do at a tab of duels, and what Redis then holds."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from playwright.async_api import Locator, Page, expect

from queuechat import keys
from queuechat.bus import Bus


class Ring:
    """A tab of duels on a page: `arena` or `beside`."""

    def __init__(self, page: Page, name: str):
        self.page, self.name = page, name
        self.all = page.locator(f"#qc-{name}")
        self.sides = [page.locator(f"#qc-{name}-{letter}") for letter in "ab"]
        self.votes = self.all.locator(".qc-vote")
        self.verdict = self.all.locator(".qc-verdict")

    async def ask(self, text: str) -> None:
        box = self.page.locator(f"#qc-{self.name}-box")
        await box.locator(".submit-button").wait_for()
        await box.locator("textarea").fill(text)
        await box.locator("textarea").press("Enter")

    async def settled(self, turns: int = 1) -> None:
        """Both sides have a footer under each of so many answers, and the page knows that."""
        for side in self.sides:
            await expect(side.locator(".qc-foot:not(.qc-live)")).to_have_count(turns)
        await self.page.locator(f"#qc-{self.name}-box .submit-button").wait_for()

    async def fought(self, question: str) -> None:
        await self.ask(question)
        await self.settled()

    def vote(self, label: str) -> Locator:
        return self.all.get_by_role("button", name=label, exact=True)

    def button(self, kind: str) -> Locator:
        return self.all.locator(f".qc-{kind}")


async def lines(bus: Bus, kind: str, count: int) -> list[dict[str, Any]]:
    """The lines of that type in the log, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            entries = await bus.connection.command("XRANGE", keys.LINES, "-", "+")
            rows = [orjson.loads(fields[b"line"]) for _, fields in entries]
            found = [row for row in rows if row["type"] == kind]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)
