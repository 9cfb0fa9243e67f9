"""Votes and conversations on their way to the log files: none is lost, none is written twice."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import stat
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from queuechat.backlog import Entry, Writer, look_at_backlog
from queuechat.battles import Event, LogLine, Side, record
from queuechat.bus import Bus
from queuechat.errors import LeaseLost
from tests.background.scene import TALK, Scene, a_scene
from tests.background.votes import votes
from tests.failpoints.cases import BACKGROUND, Case
from workers.background.logbook import Logbook

MS = 1_763_769_600_000  # 2025-11-22 00:00:00 UTC


def entries(*ids: str, images: bool = False) -> list[Entry]:
    return [Entry(id, orjson.dumps({"type": "chat", "n": id}), images) for id in ids]


def written(folder: Path) -> list[Any]:
    """Ids of all lines, file by file."""
    lines = [line for path in sorted(folder.glob("*-conv.json")) for line in path.read_bytes().splitlines()]
    return [orjson.loads(line)["entry"] for line in lines]


# -- the files ---------------------------------------------------------------------------------------------------------


def test_a_line_goes_to_the_file_of_its_day(tmp_path: Path) -> None:
    Logbook(tmp_path).append([*entries(f"{MS - 1}-0", f"{MS}-0"), *entries(f"{MS}-1", images=True)])
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {
        "2025-11-21-conv.json": b'{"type":"chat","n":"%d-0","entry":"%d-0"}\n' % (MS - 1, MS - 1),
        "2025-11-22-conv.json": b'{"type":"chat","n":"%d-0","entry":"%d-0"}\n' % (MS, MS),
        "vision-tmp-2025-11-22-conv.json": b'{"type":"chat","n":"%d-1","entry":"%d-1"}\n' % (MS, MS),
    }


def test_nobody_else_on_the_host_can_read_what_was_said(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    Logbook(folder).append(entries(f"{MS}-0"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


def test_what_two_processes_have_read_is_written_once(tmp_path: Path) -> None:
    one, other = Logbook(tmp_path), Logbook(tmp_path)
    one.append(entries(f"{MS}-0", f"{MS}-1"))
    other.append(entries(f"{MS}-0", f"{MS}-1", f"{MS}-2"))
    one.append(entries(f"{MS}-1", f"{MS}-2", f"{MS}-3"))
    assert written(tmp_path) == [f"{MS}-{k}" for k in range(4)]


def test_a_line_that_comes_back_from_long_ago_is_known(tmp_path: Path) -> None:
    """A Redis that was restored from an older copy has forgotten that it was written."""
    ids = [f"{MS + k}-0" for k in range(500)]
    Logbook(tmp_path).append(entries(*ids))
    Logbook(tmp_path).append(entries(*ids[:3], *ids[250:260]))
    assert written(tmp_path) == ids


def test_a_line_of_a_redis_whose_clock_was_set_back_is_written(tmp_path: Path) -> None:
    Logbook(tmp_path).append(entries(f"{MS + 900}-0"))
    Logbook(tmp_path).append(entries(f"{MS + 100}-0"))
    assert written(tmp_path) == [f"{MS + 900}-0", f"{MS + 100}-0"]


def test_what_a_crash_has_half_written_is_cut_away_and_written_again(tmp_path: Path) -> None:
    both = entries(f"{MS}-0", f"{MS}-1")
    Logbook(tmp_path).append(both)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for cut in range(1, len(whole) + 1):
        path.write_bytes(whole[:-cut])
        Logbook(tmp_path).append(both)
        assert path.read_bytes() == whole, cut


def test_a_block_of_the_disk_that_never_came_is_cut_away(tmp_path: Path) -> None:
    both = entries(f"{MS}-0", f"{MS}-1")
    Logbook(tmp_path).append(both)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 + 5] + b"\0" * 200_000 + b"\n")
    Logbook(tmp_path).append(both)
    assert path.read_bytes() == whole


def test_a_file_that_fastchat_began_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "2025-11-22-conv.json"
    path.write_text('{"type": "chat", "tstamp": 1}\n{"type": "leftvote", "tstamp": 2}')
    for _ in range(2):
        Logbook(tmp_path).append(entries(f"{MS}-0"))
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["type"] for line in lines] == ["chat", "leftvote", "chat"]


def test_a_file_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    Logbook(tmp_path).append(entries(f"{MS}-0"))
    (path,) = tmp_path.iterdir()
    with path.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            Logbook(tmp_path).append(entries(f"{MS}-1"))
    Logbook(tmp_path).append(entries(f"{MS}-1"))
    assert written(tmp_path) == [f"{MS}-0", f"{MS}-1"]


# -- who writes --------------------------------------------------------------------------------------------------------


async def test_one_process_writes_at_a_time(bus: Bus) -> None:
    writer = await Writer.take(bus)
    assert writer
    assert await Writer.take(bus) is None
    await writer.keep()
    await writer.leave()
    other = await Writer.take(bus)
    assert other
    with pytest.raises(LeaseLost):
        await writer.keep()
    await writer.leave()
    assert await Writer.take(bus) is None
    await other.leave()


# -- the whole way -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("case", BACKGROUND, ids=lambda case: str(case.point))
async def test_no_vote_is_lost_or_doubled_when_who_writes_it_is_killed(scene: Scene, case: Case) -> None:
    await scene.votes(20)
    doomed = await scene.background(QUEUECHAT_FAILPOINT=case.entry)
    assert await doomed.process.wait() == -signal.SIGKILL
    assert (await look_at_backlog(scene.bus)).lines == 20
    await scene.restart_redis()
    await scene.background()
    await scene.votes(20)
    await scene.all_written()
    assert scene.written() == Counter(scene.counted)


async def test_votes_that_come_while_redis_and_writers_die_are_all_in_the_files(tmp_path: Path) -> None:
    """A seeded slice of `python -m tests.background votes`."""
    figures, faults = await votes(tmp_path, 5, 200, 2)
    assert (figures["killed"], faults) == ({"redis": 2, "background": 2}, [])
    assert figures["votes"] >= 200


async def test_what_cannot_be_written_waits(scene: Scene) -> None:
    (scene.folder / "arena").write_text("a file where the folder should be")
    await scene.votes(3)
    command = await scene.background()
    async with asyncio.timeout(60):
        while "cannot be written" not in command.log.read_text():
            assert command.process.returncode is None
            await asyncio.sleep(0.02)
    assert (await look_at_backlog(scene.bus)).lines == 3
    (scene.folder / "arena").unlink()
    await scene.all_written()
    assert scene.written() == Counter(scene.counted)


async def test_more_lines_than_are_read_at_a_time_are_all_written_in_order(scene: Scene) -> None:
    for k in range(250):
        await record(scene.bus, LogLine(Event.FLAG, [Side("a", TALK)], f"{k}", 1.0))
    await scene.background()
    await scene.all_written()
    assert [row["ip"] for row in scene.rows()] == [f"{k}" for k in range(250)]
