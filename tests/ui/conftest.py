"""A desk over a real Redis, as the server builds it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.roster import Roster
from ui.board import Board
from ui.desk import Desk


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[Bus]:
    """A database of its own, empty: these tests look at who is alive."""
    bus = await Bus(f"{redis_url}/5").open()
    await bus.connection.command("FLUSHDB")
    yield bus
    await bus.close()


@pytest.fixture
async def desk(bus: Bus) -> AsyncIterator[Desk]:
    async with Client(bus, queue_limit=3) as client, Roster(bus) as roster, Board(bus, roster) as board:
        yield Desk(client, roster, board)
