"""The chore that rates votes for the pages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.files import Directory
from queuechat.leaderboard.results import Leaderboard, decode
from queuechat.standings import published
from tests.background.test_chores import desk_of
from tests.cleaning.lines import log_file, state, vote
from tests.conftest import a_redis
from tests.processes import Command
from workers.background.desk import Desk, Rating
from workers.background.rating import rate


@pytest.fixture(autouse=True)
async def nothing_published(bus: Bus) -> AsyncIterator[None]:
    yield
    await bus.connection.command("DEL", keys.LEADERBOARD, keys.RATED)


def desk_with(bus: Bus, folder: Path, **rating: Any) -> Desk:
    return replace(desk_of(bus, Directory(folder)), arena=folder, rating=Rating(**{"every_s": 3600.0, **rating}))


def votes(count: int) -> list[dict[str, Any]]:
    """Two models win in turn; a vote a second."""
    sides = {"left": state("ann", "Hi", "Hello"), "right": state("bob", "Hi", "Good day to you")}
    kinds = ("leftvote", "leftvote", "rightvote")
    return [vote(kinds[k % 3], **sides, tstamp=1_760_000_000.0 + k, battle_id=f"b{k}") for k in range(count)]


async def shown(bus: Bus) -> Leaderboard | None:
    raw = await published(bus)
    return decode(raw) if raw else None


async def may_rate_again(bus: Bus) -> None:
    await bus.connection.command("DEL", keys.RATED)


async def test_recorded_votes_come_to_the_pages(bus: Bus, tmp_path: Path) -> None:
    desk = desk_with(bus, tmp_path)
    log_file(tmp_path, *votes(30))
    await rate({"desk": desk})
    made = await shown(bus)
    assert made
    assert (made.votes, made.rounds) == (30, 100)
    assert [one.model for one in made.tables[0].standings] == ["ann", "bob"]
    assert made.tables[0].styled
    assert {"leaderboard.json", "leaderboard.csv"} <= set(os.listdir(tmp_path))


async def test_it_is_done_again_when_it_is_time_and_there_are_new_votes(bus: Bus, tmp_path: Path) -> None:
    desk = desk_with(bus, tmp_path, rounds=5)
    log_file(tmp_path, *votes(6))
    await rate({"desk": desk})
    first = await shown(bus)
    assert first
    log_file(tmp_path, *votes(9))
    await rate({"desk": desk})
    assert await shown(bus) == first  # it was done just now
    await may_rate_again(bus)
    await rate({"desk": desk})
    second = await shown(bus)
    assert second
    assert (second.votes, second.rounds) == (9, 5)
    await may_rate_again(bus)
    await rate({"desk": desk})
    assert await shown(bus) == second  # nothing is new
    await bus.connection.command("DEL", keys.LEADERBOARD)
    await rate({"desk": desk})
    third = await shown(bus)
    assert third  # a Redis that has lost it gets it again
    assert third.votes == 9


async def test_where_nobody_has_voted_or_it_is_switched_off_nothing_is_done(bus: Bus, tmp_path: Path) -> None:
    await rate({"desk": desk_with(bus, tmp_path / "none")})
    await rate({"desk": desk_with(bus, tmp_path)})
    log_file(tmp_path, *votes(3))
    await rate({"desk": desk_with(bus, tmp_path, every_s=0.0)})
    assert await shown(bus) is None
    assert os.listdir(tmp_path) == ["2025-11-22-conv.json"]
    assert not await bus.connection.command("EXISTS", keys.RATED)


async def test_what_went_wrong_is_said_and_the_pages_keep_what_they_have(
    bus: Bus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_file(tmp_path, *votes(3))
    with caplog.at_level(logging.WARNING, "workers.background.rating"):
        await rate({"desk": desk_with(bus, tmp_path, categories=tmp_path / "gone.toml")})
    assert "the leaderboard stays as it is: queuechat: " in caplog.text
    assert "gone.toml: No such file" in caplog.text
    assert await shown(bus) is None


async def test_a_background_process_that_ends_takes_its_rating_along(bus: Bus, tmp_path: Path) -> None:
    log_file(tmp_path, *votes(3))
    rating = asyncio.create_task(rate({"desk": desk_with(bus, tmp_path, rounds=100_000)}))
    async with asyncio.timeout(60):
        while not await bus.connection.command("EXISTS", keys.RATED) or not _children():
            await asyncio.sleep(0.01)
    rating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rating
    assert not _children()


def _children() -> list[int]:
    """This process' children that rate."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("leaderboard" in word for word in child.cmdline()):
                found.append(child.pid)
    return found


async def test_a_background_process_rates_by_itself_as_often_as_it_is_told(tmp_path: Path) -> None:
    arena = tmp_path / "arena"
    arena.mkdir()
    log_file(arena, *votes(12))
    (tmp_path / "redis").mkdir()
    with a_redis(tmp_path / "redis") as url:
        bus = await Bus(url).open()
        command = await Command.start(["background"], tmp_path, QUEUECHAT_REDIS_URL=url, QUEUECHAT_LEADERBOARD_S="1")
        try:
            for count in (12, 15):
                log_file(arena, *votes(count))
                async with asyncio.timeout(120):
                    while not (made := await shown(bus)) or made.votes != count:
                        assert command.process.returncode is None, command.log.read_text()
                        await asyncio.sleep(0.05)
        finally:
            await command.stop()
            await bus.close()


def test_the_time_of_a_result_is_that_of_its_votes(tmp_path: Path) -> None:
    from workers.background.rating import _has_news

    result, log = tmp_path / "leaderboard.json", log_file(tmp_path, *votes(1))
    assert _has_news(tmp_path, result)
    result.write_text("{}")
    os.utime(log, (time.time() - 5, time.time() - 5))
    assert not _has_news(tmp_path, result)
    os.utime(result, (time.time() - 9, time.time() - 9))
    assert _has_news(tmp_path, result)
