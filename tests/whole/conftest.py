"""Whole processes: workers as a user starts them, and a client to ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from tests.processes import Workers


@pytest.fixture
async def client(bus: Bus) -> AsyncIterator[Client]:
    async with Client(bus) as opened:
        yield opened


@pytest.fixture
async def workers(redis_url: str, bus: Bus, tmp_path: Path) -> AsyncIterator[Workers]:
    started = Workers(redis_url, bus, tmp_path / "w")
    yield started
    await started.stop()
