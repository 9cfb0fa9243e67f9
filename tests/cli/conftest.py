"""The command on the Redis of this run, and who answers it: workers as processes, or one led by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuechat.bus import Bus
from tests.api.hand import Hand
from tests.cli.command import Cli, Door


@pytest.fixture(scope="session", autouse=True)
async def door() -> AsyncIterator[None]:
    yield
    await Door.close()


@pytest.fixture
def cli(redis_url: str, tmp_path: Path) -> Cli:
    return Cli(redis_url, tmp_path)


@pytest.fixture
async def hand(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model) as opened:
        yield opened
