"""Responses as Redis holds them: what each was asked, stored before it is queued, and what became of it.

Its events are the log of its job, which is kept for as long; so nobody has to be there when it ends. `ended` only saves
reading the log again.
"""

from __future__ import annotations

from dataclasses import dataclass

from queuechat import keys
from queuechat.bus import Bus, memory_low
from queuechat.errors import ResponseNotFound
from queuechat.protocol import Chunk, End, decode_event

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Record:
    """`id` is that of its job, `model` the name that its workers listen to. `asked` and `ended` are JSON of the
    dialect; `ended` is empty until somebody has seen the end."""

    id: str
    tenant: str
    model: str
    asked: bytes
    ended: bytes = b""


async def put_response(bus: Bus, record: Record, keep_s: float) -> None:
    """Store what is asked, for `keep_s` seconds.

    Raises:
        MemoryLow: Redis needs what memory it has for the answers that run.
        BusUnavailable: it does not answer.
    """
    key, keep_ms = keys.response(record.id), round(keep_s * 1000)
    word = await bus.connection.call("qc1_response_put", key, record.tenant, record.model, record.asked, keep_ms)
    if word == b"MEMORY":
        raise memory_low()


async def end_response(bus: Bus, record: Record, ended: bytes, *, log_s: float | None = None) -> None:
    """Store what became of it; nothing for one that was deleted. From now on its log may be kept for `log_s` only."""
    word = await bus.connection.call("qc1_response_end", keys.response(record.id), ended)
    if word == b"OK" and log_s is not None:
        names = (keys.job(record.model, record.id), keys.log(record.model, record.id))
        await bus.connection.insist([("PEXPIRE", name, round(log_s * 1000)) for name in names])


async def find_response(bus: Bus, id: str, tenant: str) -> Record:
    """Raises ResponseNotFound when there is none, not any more, or it is another's."""
    fields = ("tenant", "model", "asked", "ended")
    owner, model, asked, ended = (await bus.connection.insist([("HMGET", keys.response(id), *fields)]))[0]
    if asked is None or owner.decode() != tenant:
        raise ResponseNotFound(f"there is no response 'resp_{id[:80]}': it was not stored, was deleted or has expired")
    return Record(id, tenant, model.decode(), asked, ended or b"")


async def delete_response(bus: Bus, record: Record) -> None:
    """Forget it, and stop it if it runs. It can be asked for again until all is gone: the tombstone comes last."""
    await bus.cancel(record.model, [record.id])
    await bus.connection.call("qc1_response_drop", keys.jobs(record.model), record.id)
    await bus.connection.call("qc1_response_delete", keys.response(record.id))


async def forget_response(bus: Bus, id: str) -> None:
    """Of one that was never queued nothing is left."""
    await bus.connection.insist([("DEL", keys.response(id))])


async def state_of(bus: Bus, record: Record) -> str:
    """Of its job; "" when that is not there, or not any more. To ask is not to read: nobody is kept from leaving."""
    state = (await bus.connection.insist([("HGET", keys.job(record.model, record.id), "state")]))[0]
    return state.decode() if state else ""


async def read_events(bus: Bus, record: Record) -> list[Chunk | End]:
    """All that its log holds now, in order; the last is an End when it has ended."""
    events: list[Chunk | End] = []
    after = 0
    while True:
        entries = await bus.read_log(record.model, record.id, after, _PAGE)
        events += (decode_event(entry.raw) for entry in entries)
        last = events[-1] if events else None
        if len(entries) < _PAGE or not isinstance(last, Chunk):
            return events
        after = last.end
