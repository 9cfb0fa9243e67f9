"""The private Redis: shared by its users, stopped by the last one, its data still there next time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.embedded import EmbeddedRedis, redis_for
from queuechat.errors import Misconfigured


def test_the_last_user_stops_it_and_nobody_earlier(tmp_path: Path) -> None:
    one, two = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    one.join()
    two.join()
    one.leave()
    assert two.alive
    two.leave()
    two.leave()
    assert not two.alive


def test_its_socket_stays_when_the_next_user_comes_as_the_last_one_leaves(tmp_path: Path) -> None:
    for _ in range(10):
        server = EmbeddedRedis(tmp_path)
        server.join()
        assert server.alive
        leaving = threading.Thread(target=server.leave)
        leaving.start()
        following = EmbeddedRedis(tmp_path)
        following.join()
        leaving.join()
        assert following.alive
        following.leave()


async def test_what_it_holds_is_there_when_it_runs_again(tmp_path: Path) -> None:
    for expected in (None, b"value"):
        with redis_for(None, tmp_path) as url:
            bus = await Bus(url).open()
            assert await bus.connection.command("GET", "name") == expected
            await bus.connection.command("SET", "name", "value")
            await bus.close()


def test_nobody_else_can_read_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with redis_for(None, folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        files = [path for path in folder.rglob("*.aof*") if path.is_file()]
        assert files
        assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_a_folder_that_all_users_share_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(Misconfigured, match="QUEUECHAT_STATE_DIR"):
        EmbeddedRedis(tmp_path).join()
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777


def test_a_url_is_used_as_it_is(tmp_path: Path) -> None:
    with redis_for("redis://elsewhere", tmp_path) as url:
        assert url == "redis://elsewhere"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_too_deep_for_a_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="QUEUECHAT_STATE_DIR"):
        EmbeddedRedis(tmp_path / ("x" * 100))
