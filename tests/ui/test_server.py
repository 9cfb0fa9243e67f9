"""The page's process says who may use it."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from queuechat.settings import load
from tests.conftest import free_port
from ui.server import serve


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
async def test_a_page_that_others_can_reach_warns_loudly_that_it_asks_for_no_key(
    redis_url: str, caplog: pytest.LogCaptureFixture, host: str, warned: bool
) -> None:
    port, stop = free_port(), asyncio.Event()
    with caplog.at_level(logging.WARNING, "ui.server"):
        serving = asyncio.create_task(serve(load(host=host, ui_port=port, api_keys="secret"), redis_url, stop))
        async with asyncio.timeout(60):
            while not serving.done():
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        stop.set()
        await serving
    assert ("ANYONE who can reach 0.0.0.0" in caplog.text) is warned
