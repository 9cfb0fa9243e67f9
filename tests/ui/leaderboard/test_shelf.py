"""The leaderboard as pages read it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.leaderboard.building import Options, build
from queuechat.standings import publish, published, turn_to_rate
from tests.leaderboard.synthetic import battle
from ui.leaderboard.shelf import Shelf

BATTLES = [battle("a", "b"), battle("b", "a"), battle("a", "b")]


async def test_what_is_published_is_what_pages_read(bus: Bus) -> None:
    shelf = Shelf(bus, every_s=0)
    assert await shelf.look() is None
    made = build(BATTLES, Options(rounds=5))
    await publish(bus, made)
    assert await shelf.look() == made
    again = build(BATTLES[:2], Options(rounds=5))
    await publish(bus, again)
    assert await shelf.look() == again


async def test_many_pages_are_one_reader(bus: Bus) -> None:
    await publish(bus, build(BATTLES, Options(rounds=5)))
    shelf = Shelf(bus, every_s=3600)
    first = await shelf.look()
    await bus.connection.command("DEL", keys.LEADERBOARD)
    looks = await asyncio.gather(*(shelf.look() for _ in range(100)))
    assert all(look is first for look in looks)


async def test_a_document_of_another_version_leaves_the_last_one(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    shelf, made = Shelf(bus, every_s=0), build(BATTLES, Options(rounds=5))
    await publish(bus, made)
    await shelf.look()
    await bus.connection.command("SET", keys.LEADERBOARD, b'{"version": 99}')
    with caplog.at_level(logging.WARNING, "ui.leaderboard"):
        assert await shelf.look() == made
    assert "no leaderboard" in caplog.text
    assert await published(bus) == b'{"version": 99}'


async def test_one_process_at_a_time_has_the_turn_to_rate(bus: Bus) -> None:
    turns = await asyncio.gather(*(turn_to_rate(bus, 60) for _ in range(5)))
    assert sorted(turns) == [False] * 4 + [True]
    assert 0 < await bus.connection.command("PTTL", keys.RATED) <= 60_000
