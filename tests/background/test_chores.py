"""What the background process does beside batches."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any, cast

from queuechat.bus import Bus
from queuechat.files import Directory, File, add_file, new_file_id
from workers.background.chores import tidy
from workers.background.desk import Desk

_LONG_AGO = time.time() - 31 * 24 * 3600


def desk_of(bus: Bus, store: Directory) -> Desk:
    """One for chores that neither ask nor give chores."""
    nobody = cast(Any, None)
    return Desk(bus, nobody, nobody, nobody, store, store.folder / "parts", 1, "")


def age(path: Path) -> None:
    os.utime(path, (_LONG_AGO, _LONG_AGO))


async def test_old_content_without_a_record_is_deleted_and_no_other(bus: Bus, tmp_path: Path) -> None:
    store = Directory(tmp_path)
    recorded, stray, fresh = (new_file_id() for _ in range(3))
    for id in (recorded, stray, fresh):
        store.put(id, io.BytesIO(b"{}"))
    await add_file(bus, File(recorded, "", "in.jsonl", "batch", 2, int(_LONG_AGO)))
    half, other = tmp_path / f".{stray}.0123abcd", tmp_path / "README"
    for path in (half, other):
        path.write_bytes(b"")
    (tmp_path / "parts").mkdir()
    for path in (*map(store.path, (recorded, stray)), half, other, tmp_path / "parts"):
        age(path)
    desk = desk_of(bus, store)
    await tidy({"desk": desk})
    left = set(os.listdir(tmp_path))
    assert left == {recorded, fresh, other.name, "parts"}


async def test_there_is_nothing_to_tidy_where_nothing_was_ever_put(bus: Bus, tmp_path: Path) -> None:
    desk = desk_of(bus, Directory(tmp_path / "none"))
    await tidy({"desk": desk})
    assert not (tmp_path / "none").exists()
