"""Whole processes: workers as a user starts them, and a client to ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuechat.bus import Bus
from queuechat.client import Client


@pytest.fixture
async def client(bus: Bus) -> AsyncIterator[Client]:
    async with Client(bus) as opened:
        yield opened
