"""`queuechat doctor`: every problem comes with what to do."""

from __future__ import annotations

from pathlib import Path

from queuechat import keys
from queuechat.bus import Bus
from tests.cli.command import run
from tests.conftest import a_redis


async def test_doctor_finds_a_redis_that_may_lose_requests(redis_url: str, bus: Bus, tmp_path: Path) -> None:
    _, well, _ = await run("doctor", url=redis_url, folder=tmp_path)
    assert "appendfsync always" in well
    await bus.connection.command("CONFIG", "SET", "appendfsync", "everysec")
    try:
        _, ill, _ = await run("doctor", url=redis_url, folder=tmp_path)
    finally:
        await bus.connection.command("CONFIG", "SET", "appendfsync", "always")
    assert "redis-cli CONFIG SET appendfsync always" in ill


async def test_doctor_warns_of_an_open_address_until_there_is_a_key(redis_url: str, tmp_path: Path) -> None:
    url, there = f"{redis_url}/8", {"QUEUECHAT_HOST": "0.0.0.0"}  # a database of its own: other tests make keys
    _, ill, _ = await run("doctor", url=url, folder=tmp_path, more=there)
    assert "the API listens on 0.0.0.0" in ill
    await run("keys", "add", "ci", url=url, folder=tmp_path)
    _, well, _ = await run("doctor", url=url, folder=tmp_path, more=there)
    assert "the API listens on" not in well


async def test_doctor_warns_of_an_open_address_when_it_cannot_see_the_keys(tmp_path: Path) -> None:
    _, out, _ = await run("doctor", url="redis://127.0.0.1:1", folder=tmp_path, more={"QUEUECHAT_HOST": "0.0.0.0"})
    assert "the API listens on 0.0.0.0" in out


async def test_doctor_tells_of_votes_that_nobody_writes_to_a_file(tmp_path: Path) -> None:
    with a_redis(tmp_path) as url:
        bus = await Bus(url).open()
        _, well, _ = await run("doctor", url=url, folder=tmp_path)
        assert "wait for their file: 0\n" in well
        await bus.connection.command("XADD", keys.LINES, "1000000000000-0", "line", "{}", "images", "0")
        _, ill, _ = await run("doctor", url=url, folder=tmp_path)
        await bus.close()
    assert "wait for their file: 1 — Redis keeps them: start `queuechat background`" in ill
