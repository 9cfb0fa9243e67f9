"""The healthy part of the fleet lives as long as these tests; a victim only as long as its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from tests.failpoints.asking import Asker
from tests.failpoints.calling import Caller
from tests.failpoints.fleet import Fleet


@pytest.fixture(scope="package")
async def fleet(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    bus = await Bus(redis_url).open()
    opened = Fleet(redis_url, bus, "steadfast", tmp_path_factory.mktemp("fleet"))
    await opened.open()
    yield opened
    await opened.close()
    await bus.close()


@pytest.fixture
async def asker(bus: Bus, fleet: Fleet) -> AsyncIterator[Asker]:
    async with Client(bus) as client:
        yield Asker(client, fleet.model)


@pytest.fixture
async def caller(fleet: Fleet) -> AsyncIterator[Caller]:
    opened = Caller(fleet.model)
    yield opened
    await opened.http.aclose()
