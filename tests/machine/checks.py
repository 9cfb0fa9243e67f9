"""Whether Redis holds what the model says, looked at after every step."""

from __future__ import annotations

from collections import Counter
from typing import Any

from queuechat import audit, keys, usage
from queuechat.bus import Bus
from queuechat.protocol import Chunk, End, PrefixHash, decode_event
from tests.machine.model import Job, World

MODEL = "m"
KEYS = ("a", "b")  # of idempotency
_FIELDS = ("state", "own", "next", "hash", "crashes", "kills", "epoch", "cancel")


async def check(bus: Bus, world: World, settled: set[str]) -> None:
    """Compare all that there is with the model; what has ended and was looked at (`settled`) need not be again."""
    jobs = [job for job in world.jobs.values() if job.id not in settled]
    commands: list[tuple[Any, ...]] = [
        ("XRANGE", keys.jobs(MODEL), "-", "+"),
        ("XRANGE", keys.bulk(MODEL), "-", "+"),
        ("ZRANGE", keys.deadlines(MODEL), 0, -1),
        ("XRANGE", keys.usage(MODEL), "-", "+"),
        ("XRANGE", keys.dead(MODEL), "-", "+"),
        ("FCALL", "qc1_audit", 1, keys.jobs(MODEL), *world.jobs),
        ("FCALL", "qc1_depth", 1, keys.jobs(MODEL), keys.DEPTH_MS),
        ("HGETALL", keys.standing(MODEL)),
        *(("HGET", keys.idem(MODEL, key), "id") for key in KEYS),
    ]
    for job in jobs:
        commands += [("HMGET", keys.job(MODEL, job.id), *_FIELDS), ("XRANGE", keys.log(MODEL, job.id), "-", "+")]
    answers = await bus.connection.insist(commands)
    _check_lists(world, answers[:5])
    assert answers[5] == [], f"audit: {answers[5]}"
    _check_depth(world, answers[6])
    _check_standing(world, answers[7])
    for key, holder in zip(KEYS, answers[8:], strict=False):
        assert (holder.decode() if holder else "") == world.keys.get(key, ("", ""))[0], "who holds an idempotency key"
    for number, job in enumerate(jobs):
        _check_job(job, *answers[8 + len(KEYS) + 2 * number :][:2])
    settled.update(job.id for job in jobs if not job.alive)


def _check_lists(world: World, answers: list[Any]) -> None:
    alive = world.alive()
    for lane, rows in zip(("jobs", "bulk"), answers[:2], strict=True):
        assert [_of(row, b"id") for row in rows] == [
            job.id for job in sorted(alive, key=lambda job: job.place) if job.lane == lane
        ], f"an entry of {lane} is not exactly what is alive"
    assert sorted(id.decode() for id in answers[2]) == sorted(job.id for job in alive), (
        "deadlines are not what is alive"
    )
    billed = Counter(_of(row, b"id") for row in answers[3])
    assert billed == Counter({job.id: job.bills for job in world.jobs.values() if job.bills}), "usage entries"
    assert sorted(_of(row, b"id") for row in answers[4]) == sorted(job.id for job in world.dead()), "dead letters"


def _check_depth(world: World, row: list[int]) -> None:
    waiting, bulk = len(world.waiting("jobs")), len(world.waiting("bulk"))
    running = len(world.alive()) - waiting - bulk
    assert [row[0], row[1], row[2], row[4]] == [waiting, running, bulk, len(world.dead())], f"depth: {row}"


def _check_standing(world: World, row: Any) -> None:
    fields = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
    found = {nonce.decode(): [int(part) for part in value.split()[1:]] for nonce, value in fields.items()}
    foretold = {nonce: [one.free, one.left, one.granted] for nonce, one in world.standing.items()}
    assert found == foretold, f"other claims stand than should: {found}, not {foretold}"


def _check_job(job: Job, row: list[bytes | None], rows: list[tuple[bytes, Any]]) -> None:
    if job.dropped:
        assert row[0] is None, "a dropped job left its hash"
        assert rows == [], "a dropped job left its log"
        return
    cancel = "1" if job.cancel else "0"
    expected = [job.state, job.owner, len(job.ids), job.hash, job.crashes, job.kills, job.epoch, cancel]
    assert [value.decode() if value is not None else None for value in row] == [str(value) for value in expected]
    _check_log(job, rows)


def _check_log(job: Job, rows: list[tuple[bytes, Any]]) -> None:
    """Contiguous, hashed right, one end and that last, and all as the model has it."""
    chain, ids, found = PrefixHash(), list[int](), list[tuple[str, str]]()
    for entry, fields in rows:
        event = decode_event(_field(fields, b"c") or _field(fields, b"e"))
        assert event.offset == len(ids), "the log has a gap or a repeat"
        if isinstance(event, Chunk):
            ids += event.ids
            assert chain.update(event.ids) == _field(fields, b"h").decode(), "the hash chain is broken"
            found.append((entry.decode(), chain.value))
        else:
            found.append((entry.decode(), event.reason))
    assert found == job.log, "the log is not what was accepted"
    assert ids == job.ids, "delivered ids were contradicted"


async def check_drained(bus: Bus, world: World) -> None:
    """Nothing waits, runs or is pending, everything expires, and the audit finds no fault."""
    await check(bus, world, set())
    assert not world.alive()
    for lane in (keys.jobs(MODEL), keys.bulk(MODEL)):
        if await bus.connection.command("EXISTS", lane):
            assert await bus.connection.command("XLEN", lane) == 0
            pending = await bus.connection.command("XPENDING", lane, keys.GROUP)
            assert (pending["pending"] if isinstance(pending, dict) else pending[0]) == 0
    for pattern in (keys.job(MODEL, "*"), keys.log(MODEL, "*"), keys.idem(MODEL, "*")):
        for name in await bus.find_keys(pattern):
            assert await bus.connection.command("PTTL", name) > 0, f"{name} never expires"
    report = await audit.audit(bus, MODEL)
    assert report.faults == []
    assert report.usage == sum(job.bills for job in world.jobs.values())
    days = [name.rpartition(":")[2] for name in await bus.find_keys(keys.spent(MODEL, "*"))]
    spent = await usage.take_usage(bus, [MODEL], days)
    billed = Counter(dict.fromkeys({job.tenant for job in world.jobs.values()}, 0))
    for job in world.jobs.values():
        billed[job.tenant] += job.bills
    assert {row.key: row.requests for row in usage.summed(spent, usage.By.KEY)} == billed, "the sums of usage"
    assert usage.total(spent).tokens == sum(len(job.ids) for job in world.jobs.values()), "the tokens of usage"
    assert all(job.bills == 1 for job in world.jobs.values()), "not exactly one usage entry per ended job"


def same_as_log(job: Job, events: list[Any]) -> None:
    """What a reader was given: no gap, no repeat, one end; of a job that was redriven after it, the beginning."""
    *chunks, end = events
    assert isinstance(end, End), "a reader ended without an end"
    ids = [id for chunk in chunks for id in chunk.ids]
    assert ids == job.ids[: len(ids)], "a reader was given other ids than the log holds"
    assert end.offset == len(ids)
    places = [f"{chunk.end}-0" for chunk in chunks]
    assert places == [entry for entry, _ in job.log[: len(places)]], (
        "a reader was given other chunks than the log holds"
    )
    if job.ends == 1:
        assert (ids, end.reason) == (job.ids, job.state)


def _field(fields: Any, name: bytes) -> bytes:
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    return row.get(name) or b""


def _of(row: tuple[bytes, Any], name: bytes) -> str:
    return _field(row[1], name).decode()
