"""Two houses: ours on the Redis of the run, and theirs on one of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from queuechat.bus import Bus
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.conftest import a_redis
from tests.relay.provider import Provider, a_provider


@pytest.fixture(scope="session")
def far_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with a_redis(tmp_path_factory.mktemp("far-redis")) as url:
        yield url


@pytest.fixture(scope="session")
async def site(redis_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, drain_s=0) as opened:
        yield opened


@pytest.fixture(scope="session")
async def far(far_redis: str) -> AsyncIterator[Site]:
    async with a_site(far_redis, drain_s=0) as opened:
        yield opened


@pytest.fixture
async def hand(far_redis: str) -> AsyncIterator[Hand]:
    """Who answers on the far side, as the model "theirs"; it can do what a good model can."""
    bus = await Bus(far_redis).open()
    able: dict[str, Any] = {
        "tool_format": "hermes",
        "reasoning": "think",
        "grammars": ["json_schema", "json_object"],
        "vision": True,
    }
    async with Hand(bus, "theirs", **able) as opened:
        yield opened
    await bus.close()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with a_provider() as opened:
        yield opened
