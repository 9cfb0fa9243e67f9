"""Batches as Redis holds them: made and cancelled by front ends, run by one background worker at a time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import orjson

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import BatchNotFound, Conflict, LeaseLost
from queuechat.pages import Page, read_page

ENDED = frozenset({"failed", "completed", "expired", "cancelled"})

_OURS = frozenset({"tenant", "models", "output_expires_s", "total", "completed", "failed", "filed"})


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch; times are Unix seconds. `models` are globs of what its key might use when it was made (none: all);
    `filed` says that its result files are written and only wait to be told of."""

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    metadata: dict[str, str] | None = None
    output_expires_s: int | None = None
    models: list[str] = field(default_factory=list)
    status: str = "validating"
    model: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    completed: int = 0
    failed: int = 0
    filed: bool = False
    output_file_id: str | None = None
    error_file_id: str | None = None
    usage: dict[str, Any] | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def shown(self) -> dict[str, Any]:
        """OpenAI's batch object."""
        row = {name: value for name, value in asdict(self).items() if name not in _OURS}
        row["errors"] = {"object": "list", "data": self.errors} if self.errors else None
        row["request_counts"] = {"total": self.total, "completed": self.completed, "failed": self.failed}
        if not self.ended:  # their records may not be there yet
            row["output_file_id"] = row["error_file_id"] = None
        return {"object": "batch", **row}


_NAMES = frozenset(f.name for f in fields(Batch))


def new_batch_id() -> str:
    return f"batch_{secrets.token_hex(16)}"


async def add_batch(bus: Bus, batch: Batch) -> None:
    """Record a new batch, for whichever background worker comes first."""
    now = int(time.time() * 1000)
    row = [part for name, value in asdict(batch).items() for part in (name, _packed(name, value))]
    await bus.connection.insist(
        [
            ("ZADD", keys.OPEN_BATCHES, now, batch.id),
            ("HSET", keys.batch(batch.id), *row),
            ("ZADD", keys.batches(batch.tenant), now, batch.id),
            ("ZADD", keys.BATCHES, now, batch.id),
        ]
    )


async def get_batch(bus: Bus, id: str, tenant: str | None = None) -> Batch:
    """Raises BatchNotFound when there is none, or (with a `tenant`) it is another's."""
    (found,) = await _read(bus, [id])
    if found is None or tenant not in (None, found.tenant):
        raise BatchNotFound(f"there is no batch {id[:80]!r}", param="batch_id")
    return found


async def list_batches(
    bus: Bus, tenant: str | None = None, *, after: str | None = None, limit: int = 20
) -> Page[Batch]:
    """The newest first, of one tenant or (None) of all. Raises InvalidRequest when `after` is none of them."""
    index = keys.BATCHES if tenant is None else keys.batches(tenant)
    return await read_page(bus, index, lambda ids: _read(bus, ids), after=after, limit=limit)


async def cancel_batch(bus: Bus, id: str, tenant: str | None = None) -> Batch:
    """Ask whoever runs it to stop; one that is being cancelled already stays so.

    Raises:
        BatchNotFound: there is none.
        Conflict: it has ended, or is about to.
    """
    await get_batch(bus, id, tenant)
    status = (await bus.connection.call("qc1_batch_cancel", keys.batch(id))).decode()
    if status != "cancelling":
        raise Conflict(f"the batch cannot be cancelled: it is {status}", param="batch_id")
    return await get_batch(bus, id, tenant)


async def open_batches(bus: Bus) -> list[tuple[str, int]]:
    """Batches that have not ended and that nobody runs now, with how often they were taken; oldest first."""
    ids = [raw.decode() for raw in (await bus.connection.insist([("ZRANGE", keys.OPEN_BATCHES, 0, -1)]))[0]]
    if not ids:
        return []
    rows = await bus.connection.insist([("HMGET", keys.batch(id), "status", "till", "epoch") for id in ids])
    now = time.time() * 1000
    return [
        (id, int(epoch or 0))
        for id, (status, till, epoch) in zip(ids, rows, strict=True)
        if status and int(till or 0) < now
    ]


class Lease:
    """The right to run a batch, for `LEASE_MS` since its last write; each write is fenced by the lease's token."""

    def __init__(self, bus: Bus, id: str, token: str, epoch: int, status: str):
        self._bus, self._token = bus, token
        self.id, self.epoch, self.status = id, epoch, status

    @classmethod
    async def take(cls, bus: Bus, id: str) -> Lease | None:
        """None when somebody else has it, or there is no such batch."""
        token = secrets.token_hex(8)
        answer = await bus.connection.call("qc1_batch_take", keys.batch(id), token, keys.LEASE_MS)
        if len(answer) == 1:
            return None
        return cls(bus, id, token, int(answer[1]), answer[0].decode())

    async def write(self, expected: str = "", /, **values: Any) -> str:
        """Renew, and set fields of the batch while its status is the expected one. Answers the status it has then.

        Raises:
            LeaseLost: somebody else has taken over.
            BusUnavailable: Redis does not answer.
        """
        row = [part for name, value in values.items() for part in (name, _packed(name, value))]
        key = keys.batch(self.id)
        word = await self._bus.connection.call("qc1_batch_write", key, self._token, keys.LEASE_MS, expected, *row)
        if word == b"FENCED":
            raise LeaseLost(f"batch {self.id} is run by another background worker now")
        self.status = word.decode()
        return self.status

    async def end(self) -> None:
        """Nothing is left to do for this batch: it is kept for a while, and looked after no more."""
        commands: list[tuple[Any, ...]] = [
            ("ZREM", keys.OPEN_BATCHES, self.id),
            ("EXPIRE", keys.batch(self.id), keys.BATCH_S),
        ]
        await self._bus.connection.insist(commands)

    async def leave(self) -> None:
        """Give it back, so that the next one need not wait for the lease to end."""
        await self._bus.connection.call("qc1_batch_leave", keys.batch(self.id), self._token)


def _packed(name: str, value: Any) -> Any:
    return value if name == "status" else orjson.dumps(value)


async def _read(bus: Bus, ids: Sequence[str]) -> list[Batch | None]:
    rows = await bus.connection.insist([("HGETALL", keys.batch(id)) for id in ids])
    return [_batch(row) for row in rows]


def _batch(row: Any) -> Batch | None:
    pairs = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
    named = {name.decode(): raw for name, raw in pairs.items()}
    if "id" not in named:
        return None
    values = {n: raw.decode() if n == "status" else orjson.loads(raw) for n, raw in named.items() if n in _NAMES}
    return Batch(**values)
