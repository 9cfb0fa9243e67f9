"""Files are read in turns, and not before it is known that their sender may ask."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from queuechat.dialects.pictures import Limits
from queuechat.errors import InvalidRequest, PermissionDenied
from ui.desk import Desk
from ui.gate.gate import Gate
from ui.gate.people import STRANGER
from ui.talk.composer import question_of
from ui.talk.reading import Reader


async def test_one_person_has_one_question_read_at_a_time_also_when_it_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    entered, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(paths: list[Path], *_: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
        begun.append(paths[0].name)
        loop.call_soon_threadsafe(entered.set)
        if paths[0].name == "first":
            assert go_on.wait(60)
        return (), ()

    monkeypatch.setattr("ui.talk.reading.attached", slow)
    reader = Reader()

    def read(person: str, name: str) -> asyncio.Task[object]:
        return asyncio.create_task(reader.read(person, [Path(name)], Limits(), 1000))

    first = read("ann", "first")
    await entered.wait()
    first.cancel()
    await asyncio.wait([first])
    second = read("ann", "second")
    await read("bob", "other")
    assert begun == ["first", "other"]
    go_on.set()
    await second
    assert begun == ["first", "other", "second"]


async def test_files_of_who_may_not_ask_are_not_read(desk: Desk, tmp_path: Path) -> None:
    asked = {"text": "What is it?", "files": [str(tmp_path / "gone.png")]}
    with pytest.raises(PermissionDenied):
        await question_of(replace(desk, gate=Gate(known=True)), asked, STRANGER)
    with pytest.raises(InvalidRequest, match="attach it again"):
        await question_of(desk, asked, STRANGER)
