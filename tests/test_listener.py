"""What the one connection hears that all who listen share."""

from __future__ import annotations

import asyncio

from queuechat.bus import Bus


async def test_messages_that_come_together_are_all_heard_and_in_order(bus: Bus, model: str) -> None:
    said = [b"%d" % n * (40_000 if n % 50 == 0 else 1) for n in range(1, 500)]  # some come in several pieces
    heard = asyncio.Queue[bytes]()
    await bus.listener.subscribe(model, heard.put_nowait)
    await bus.connection.insist([("PUBLISH", model, one) for one in said])
    async with asyncio.timeout(20):
        assert [await heard.get() for _ in said] == said


async def test_a_reader_that_comes_among_messages_is_heard_of(bus: Bus, model: str) -> None:
    heard, later = asyncio.Queue[bytes](), asyncio.Queue[bytes]()
    await bus.listener.subscribe(model, heard.put_nowait)
    talking = asyncio.create_task(bus.connection.insist([("PUBLISH", model, b"%d" % n) for n in range(500)]))
    async with asyncio.timeout(20):
        await bus.listener.subscribe(f"{model}-later", later.put_nowait)
        await talking
        await bus.connection.command("PUBLISH", f"{model}-later", b"hello")
        assert await later.get() == b"hello"
        assert [await heard.get() for _ in range(500)] == [b"%d" % n for n in range(500)]
