"""The bad network does what it says, in front of a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from queuechat.bus import Bus
from tests.chaos.proxy import Proxy

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(urlsplit(redis_url).port or 0) as opened:
        yield opened


async def a_line(proxy: Proxy) -> Line:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def asked(line: Line, command: str) -> bytes:
    line[1].write(command.encode() + b"\r\n")
    return await line[0].readline()


async def test_a_calm_proxy_passes_everything_on(proxy: Proxy) -> None:
    line = await a_line(proxy)
    assert await asked(line, "PING") == b"+PONG\r\n"
    line[1].close()


async def test_a_slow_proxy_brings_the_same_later(proxy: Proxy) -> None:
    proxy.up.delay_s = proxy.down.delay_s = 0.02
    line, loop = await a_line(proxy), asyncio.get_running_loop()
    began = loop.time()
    assert await asked(line, "PING") == b"+PONG\r\n"
    assert loop.time() - began >= 0.04
    line[1].close()


async def test_a_cut_resets_what_is_open_and_lets_in_what_comes(proxy: Proxy) -> None:
    line = await a_line(proxy)
    await asked(line, "PING")
    assert proxy.cut() == 2
    with pytest.raises(ConnectionResetError):
        await line[0].readline()
    again = await a_line(proxy)
    assert await asked(again, "PING") == b"+PONG\r\n"
    again[1].close()


async def test_what_is_asked_is_done_though_the_reply_is_lost(proxy: Proxy, bus: Bus, model: str) -> None:
    line = await a_line(proxy)
    await asked(line, "PING")
    losing = asyncio.create_task(proxy.lose_replies())
    await asyncio.sleep(0)
    with pytest.raises(ConnectionResetError):
        await asked(line, f"SET chaos:{model} done EX 60")
    await losing
    assert await bus.connection.command("GET", f"chaos:{model}") == b"done"
    again = await a_line(proxy)
    assert await asked(again, "PING") == b"+PONG\r\n"
    again[1].close()


async def test_a_black_hole_accepts_and_swallows(proxy: Proxy, bus: Bus, model: str) -> None:
    hole = asyncio.create_task(proxy.black_hole(60, proxy.up))
    await asyncio.sleep(0)
    line = await a_line(proxy)
    line[1].write(f"SET chaos:{model} done EX 60\r\n".encode())
    await proxy.up.lost.wait()
    hole.cancel()
    with pytest.raises(ConnectionResetError):
        await line[0].readline()
    assert await bus.connection.command("GET", f"chaos:{model}") is None


async def test_an_upstream_that_is_away_resets_the_caller() -> None:
    async with Proxy(1) as proxy:
        line = await a_line(proxy)
        with pytest.raises(ConnectionResetError):
            await line[0].readline()
