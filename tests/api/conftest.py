"""One server for most tests; those that need other settings make their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuechat.bus import Bus
from tests.api.hand import Hand
from tests.api.site import Site, a_site


@pytest.fixture(scope="session")
async def site(redis_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, drain_s=0) as opened:
        yield opened


@pytest.fixture
async def hand(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model) as opened:
        yield opened
