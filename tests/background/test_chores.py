"""What the background process does beside batches."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from queuechat import keys
from queuechat.batches import Batch, add_batch, list_batches, new_batch_id
from queuechat.bus import Bus
from queuechat.bus.chores import Chores
from queuechat.files import BATCH_FILE_S, Directory, File, add_file, list_expired, new_file_id
from workers.background.chores import look, sweep, tidy
from workers.background.desk import Desk

_LONG_AGO = time.time() - 31 * 24 * 3600


def desk_of(bus: Bus, store: Directory) -> Desk:
    """One for chores that neither ask nor give chores."""
    nobody = cast(Any, None)
    return Desk(bus, nobody, nobody, nobody, store, store.folder / "parts", 1, "", 1, store.folder)


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


async def test_ids_of_files_that_are_gone_do_not_keep_those_that_expire(bus: Bus, tmp_path: Path) -> None:
    store, late = Directory(tmp_path), new_file_id()
    gone = [part for k in range(150) for part in (1, f"gone-{k}")]
    await bus.connection.command("ZADD", keys.FILES, *gone)
    store.put(late, io.BytesIO(b"{}"))
    await add_file(bus, File(late, "", "in.jsonl", "batch", 2, int(_LONG_AGO), int(_LONG_AGO) + BATCH_FILE_S))
    assert [file.id for file in await list_expired(bus)] == [late]
    await sweep({"desk": desk_of(bus, store)})
    assert os.listdir(tmp_path) == []
    assert await bus.connection.command("ZCOUNT", keys.FILES, "-inf", int(time.time() * 1000)) == 0


async def test_batches_that_have_expired_leave_the_list(bus: Bus) -> None:
    now, tenant = int(time.time()), new_file_id()
    ids = [new_batch_id() for _ in range(3)]
    for id in ids:
        await add_batch(bus, Batch(id, tenant, "/v1/completions", "file-x", "24h", now, now + 86400))
    await bus.connection.command("DEL", keys.batch(ids[0]))
    assert len((await list_batches(bus, tenant, limit=1)).items) == 1
    assert await bus.connection.command("ZCARD", keys.batches(tenant)) == 2


async def test_a_batch_whose_chore_died_before_it_had_the_lease_is_taken_up_again(bus: Bus, tmp_path: Path) -> None:
    now, id = int(time.time()), new_batch_id()
    await add_batch(bus, Batch(id, "", "/v1/completions", "file-x", "24h", now, now + 86400))
    chores = Chores(bus.url)
    desk = replace(desk_of(bus, Directory(tmp_path)), chores=chores)
    queued: list[set[bytes]] = []
    try:
        for begun in (False, True):
            if begun:
                await bus.connection.command("SET", f"arq:in-progress:{id}:0", "1", "EX", 60)
            await look({"desk": desk})
            waiting = await bus.connection.command("ZRANGE", keys.BACKGROUND, 0, -1)
            queued.append({name for name in waiting if name.startswith(id.encode())})
    finally:
        await chores.close()
        await bus.connection.command("DEL", keys.BACKGROUND, f"arq:in-progress:{id}:0")
        await bus.connection.command("ZREM", keys.OPEN_BATCHES, id)
    assert queued == [{f"{id}:0".encode()}, {f"{id}:0".encode(), f"{id}:0:again".encode()}]
