"""Whether streams, hashes, logs and deadlines of a model agree, and whether anything leaked.

Every job is judged by one Redis function, so what is in motion is never seen half way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from queuechat import keys
from queuechat.bus import Bus

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must not be."""

    model: str
    id: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit has looked at, and found."""

    model: str
    jobs: int
    usage: int
    faults: list[Fault]


async def audit(bus: Bus, model: str) -> Report:
    """Look at every job of a model that any key speaks of."""
    entries = await _entries(bus, model)
    ids = sorted({*entries.values(), *await _ids(bus, model)})
    faults = await _strays(bus, model, entries) + await _judged(bus, model, [])
    for at in range(0, len(ids), _BATCH):
        faults += await _judged(bus, model, ids[at : at + _BATCH])
    billed = await _usage(bus, model)
    faults += [Fault(model, id, f"has {n} usage entries") for id, n in billed.items() if n > 1]
    return Report(model, len(ids), sum(billed.values()), faults)


async def _judged(bus: Bus, model: str, ids: list[str]) -> list[Fault]:
    """What the keys say of these jobs, or of none, that does not agree."""
    said = await bus.connection.call("qc1_audit", keys.jobs(model), *ids)
    return [Fault(model, said[i].decode(), said[i + 1].decode()) for i in range(0, len(said), 2)]


async def _entries(bus: Bus, model: str) -> dict[tuple[str, str], str]:
    """The id at each entry (stream, number) of the queues."""
    streams = [keys.jobs(model), keys.bulk(model)]
    answers = await bus.connection.insist([("XRANGE", stream, "-", "+") for stream in streams])
    return {
        (stream, entry.decode()): _field(fields, b"id")
        for stream, rows in zip(streams, answers, strict=True)
        for entry, fields in rows
    }


async def _strays(bus: Bus, model: str, entries: dict[tuple[str, str], str]) -> list[Fault]:
    """Entries whose job is lost. It is looked at again: a job that ends takes its entry along."""
    if not entries:
        return []
    there = await bus.connection.insist([("EXISTS", keys.job(model, id)) for id in entries.values()])
    lost = [
        (stream, entry, id)
        for ((stream, entry), id), is_there in zip(entries.items(), there, strict=True)
        if not is_there
    ]
    if not lost:
        return []
    still = await bus.connection.insist([("XRANGE", stream, entry, entry) for stream, entry, _ in lost])
    return [
        Fault(model, id, f"in {stream.rpartition(':')[2]}, but there is no such job")
        for (stream, _, id), rows in zip(lost, still, strict=True)
        if rows
    ]


async def _ids(bus: Bus, model: str) -> set[str]:
    """Every id that has a deadline, a hash or a log."""
    found: set[str] = set()
    late = (await bus.connection.insist([("ZRANGE", keys.deadlines(model), 0, -1)]))[0]
    found.update(id.decode() for id in late)
    for kind in (keys.job, keys.log):
        names = await bus.find_keys(kind(model, "*"))
        found.update(name[len(kind(model, "")) :] for name in names)
    return found


async def _usage(bus: Bus, model: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    low = "-"
    while True:
        rows = (await bus.connection.insist([("XRANGE", keys.usage(model), low, "+", "COUNT", 5000)]))[0]
        counted.update(_field(fields, b"id") for _, fields in rows)
        if len(rows) < 5000:
            return counted
        low = f"({rows[-1][0].decode()}"


def _field(fields: list[bytes] | dict[bytes, bytes], name: bytes) -> str:
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    return row[name].decode()


async def models_with_keys(bus: Bus) -> set[str]:
    """The models of which any key speaks, whether or not anybody has announced them."""
    return {key[len("qc:{") : key.index("}")] for key in await bus.find_keys("qc:{*}:*")}


async def audit_all(bus: Bus, models: Iterable[str]) -> list[Report]:
    """`audit` of each model."""
    return [await audit(bus, model) for model in models]
