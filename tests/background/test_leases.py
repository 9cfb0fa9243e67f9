"""Who may run a batch, and what one who may no longer has no power over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest

from queuechat import keys
from queuechat.batches import Batch, Lease, add_batch, cancel_batch, get_batch, new_batch_id, open_batches
from queuechat.bus import Bus
from queuechat.errors import LeaseLost
from workers.background.asking import Outcome
from workers.background.desk import Desk
from workers.background.parts import Parts, Reader
from workers.background.step import Step


@pytest.fixture
async def batch(bus: Bus) -> Batch:
    now = int(time.time())
    made = Batch(new_batch_id(), "", "/v1/completions", "file-x", "24h", now, now + 86400)
    await add_batch(bus, made)
    return made


async def take(bus: Bus, id: str) -> Lease:
    lease = await Lease.take(bus, id)
    assert lease
    return lease


async def lapse(bus: Bus, id: str) -> None:
    await bus.connection.command("HSET", keys.batch(id), "till", 1)


async def test_one_at_a_time_has_a_batch(bus: Bus, batch: Batch) -> None:
    assert batch.id in [id for id, _ in await open_batches(bus)]
    lease = await take(bus, batch.id)
    assert await Lease.take(bus, batch.id) is None
    assert batch.id not in [id for id, _ in await open_batches(bus)]
    await lease.leave()
    assert (await take(bus, batch.id)).epoch == lease.epoch + 1


async def test_who_lost_the_lease_writes_nothing(bus: Bus, batch: Batch) -> None:
    old = await take(bus, batch.id)
    assert await old.write("validating", status="in_progress", total=3) == "in_progress"
    await lapse(bus, batch.id)
    new = await take(bus, batch.id)
    for status in ("", "in_progress"):
        with pytest.raises(LeaseLost):
            await old.write(status, total=99)
    await old.leave()
    assert await Lease.take(bus, batch.id) is None
    assert await new.write() == "in_progress"
    assert (await get_batch(bus, batch.id)).total == 3


async def test_a_lease_that_nobody_else_took_is_renewed_even_late(bus: Bus, batch: Batch) -> None:
    lease = await take(bus, batch.id)
    await lapse(bus, batch.id)
    await lease.write()
    assert await Lease.take(bus, batch.id) is None


async def test_a_cancelled_batch_cannot_be_said_to_have_begun(bus: Bus, batch: Batch) -> None:
    lease = await take(bus, batch.id)
    await cancel_batch(bus, batch.id)
    assert await lease.write("validating", status="in_progress", total=3) == "cancelling"
    found = await get_batch(bus, batch.id)
    assert (found.status, found.total) == ("cancelling", 0)


async def test_an_ended_batch_is_looked_after_no_more_and_kept_for_a_while(bus: Bus, batch: Batch) -> None:
    lease = await take(bus, batch.id)
    await lease.write("validating", status="failed", failed_at=1)
    await lease.end()
    assert batch.id not in [id for id, _ in await open_batches(bus)]
    assert await bus.connection.command("TTL", keys.batch(batch.id)) > 0


def outcome(number: int, text: str, ok: bool = True) -> Outcome:
    return Outcome(number, ok, {"custom_id": str(number), "text": text})


def test_a_line_counts_once_whoever_wrote_it(tmp_path: Path) -> None:
    old, new = Parts(tmp_path, 1), Parts(tmp_path, 2)
    old.append([outcome(1, "first"), outcome(2, "first", ok=False)])
    new.append([outcome(3, "second")])
    old.append([outcome(3, "late"), outcome(4, "late")])  # it does not know yet that it was replaced
    found = new.index()
    assert sorted(found) == [1, 2, 3, 4]
    assert [found[k].ok for k in (1, 2, 3, 4)] == [True, False, True, True]
    assert b"first" in Reader().read(found[1])


def test_what_a_crash_has_cut_off_does_not_count(tmp_path: Path) -> None:
    Parts(tmp_path, 1).append([outcome(1, "whole"), outcome(2, "x" * 100)])
    part = next(tmp_path.glob("*.part"))
    whole = part.read_bytes()
    for cut in range(1, 100):
        part.write_bytes(whole[:-cut])
        assert sorted(Parts(tmp_path, 2).index()) == [1], cut
    part.write_bytes(whole)
    assert sorted(Parts(tmp_path, 2).index()) == [1, 2]


async def test_the_parts_of_an_ended_batch_are_gone_before_it_is_forgotten(
    bus: Bus, batch: Batch, tmp_path: Path
) -> None:
    """Whoever dies in between has left a batch that is taken up again, and no parts that nobody looks for."""
    lease = await take(bus, batch.id)
    await lease.write("validating", status="failed", failed_at=1)
    folder = tmp_path / batch.id
    folder.mkdir()

    class Dying(Lease):
        async def end(self) -> None:
            assert not folder.exists()
            raise LeaseLost("it died")

    lease.__class__ = Dying
    nobody = cast(Any, None)
    desk = Desk(bus, nobody, nobody, nobody, nobody, tmp_path, 1, "", 1, tmp_path)
    with pytest.raises(LeaseLost, match="it died"):
        await Step(desk, lease).run()
