"""The verbs: what a front end and a worker can ask of Redis, each one function of functions.lua or one plain read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from queuechat import keys
from queuechat.bus.connection import Connection
from queuechat.bus.listener import Listener
from queuechat.bus.values import Accepted, Claim, Entry, Full, Item, Repeated, Sight, Verdict
from queuechat.errors import IdempotencyMismatch
from queuechat.protocol import Depth, End, Failure, Job, Reason

log = logging.getLogger(__name__)


class Bus:
    """One per process. Every verb may be repeated; each waits for a Redis that is away up to its patience."""

    def __init__(self, url: str, *, patience_s: float = 3.0):
        self.connection = Connection(url, patience_s=patience_s)
        self.listener = Listener(self.connection)
        self.url = self.connection.url

    async def open(self) -> Bus:
        """Load our functions and start listening.

        Raises:
            BusUnavailable: Redis does not answer.
            Misconfigured: it is too old, or refuses us.
        """
        await self.connection.load_functions()
        await self.listener.start()
        return self

    async def close(self) -> None:
        await self.listener.close()
        await self.connection.close()

    # -- front ends ------------------------------------------------------------------------------------------------

    async def enqueue(
        self, jobs: Sequence[Job], *, limit: int, grace_s: float, idem: tuple[str, str] | None = None
    ) -> Accepted | Repeated | Full:
        """Put all jobs of one request (same model and lane) into the queue, or none.

        Args:
            limit: how many may wait; 0 is no limit.
            grace_s: how long they go on with nobody watching; 0 is for ever.
            idem: digests of the idempotency key and of the body.

        Raises:
            IdempotencyMismatch: the key was used with another body.
        """
        head = jobs[0]
        idem_key = keys.idem(head.model, idem[0]) if idem else ""
        body = idem[1] if idem else ""
        args: list[Any] = [head.lane, limit, round(head.deadline_s * 1000), round(grace_s * 1000), head.tenant]
        args += [idem_key, body]
        for job in jobs:
            args += [job.id, job.encode()]
        answer = await self.connection.call("qc1_enqueue", keys.jobs(head.model), *args)
        match answer[0]:
            case b"OK":
                return Accepted()
            case b"DUP":
                return Repeated(answer[1].decode())
            case b"FULL":
                return Full(answer[1], _wait_s(answer[1] + len(jobs) - limit, answer[2], answer[3]))
        raise IdempotencyMismatch("this Idempotency-Key was used before with another body")

    async def cancel(self, model: str, ids: Sequence[str]) -> list[str]:
        """OK, ALREADY (it had ended) or MISSING for each id."""
        answer = await self.connection.call("qc1_cancel", keys.jobs(model), *ids)
        return [word.decode() for word in answer]

    async def watch(self, model: str, ids: Sequence[str]) -> list[Sight]:
        """Renew the viewer marks of these jobs and see where they stand."""
        answer = await self.connection.call("qc1_watch", keys.jobs(model), *ids)
        return [Sight(answer[i].decode(), answer[i + 1], answer[i + 2]) for i in range(0, len(answer), 3)]

    async def read_log(self, model: str, id: str, after: int = 0, count: int = 500) -> list[Entry]:
        """Up to `count` log entries that follow offset `after`, in order."""
        low = f"({after}-0" if after else "-"
        command = ("XRANGE", keys.log(model, id), low, "+", "COUNT", count)
        rows = (await self.connection.insist([command]))[0]
        return [_entry(fields) for _, fields in rows]

    async def depth(self, model: str) -> Depth:
        """How deep the queues are now; also renews the key that autoscalers read."""
        row = await self.connection.call("qc1_depth", keys.jobs(model), keys.DEPTH_MS)
        return depth_of(row)

    # -- workers ---------------------------------------------------------------------------------------------------

    async def claim(
        self,
        model: str,
        worker: str,
        nonce: str,
        *,
        room: int,
        bulk_room: int = 0,
        again: bool = False,
        lease_ms: int = keys.LEASE_MS,
    ) -> list[Claim]:
        """Take up to `room` jobs, bulk ones only up to `bulk_room` in all. A worker waits by listening to `wake`.

        `nonce` fences this call's jobs. A call whose answer was lost is made with the same nonce and `again`.
        """
        args = (worker, nonce, lease_ms, room, bulk_room, int(again))
        rows = await self.connection.call("qc1_claim", keys.jobs(model), *args, patience_s=0)
        claims = []
        for id, raw, epoch, offset, digest, left in rows:
            try:
                job = Job.decode(raw)
            except ValueError as error:
                await self._give_up(model, id.decode(), nonce, int(offset), error)
                continue
            claims.append(Claim(job, nonce, int(epoch), int(offset), digest.decode(), int(left)))
        return claims

    async def _give_up(self, model: str, id: str, nonce: str, offset: int, error: Exception) -> None:
        """End a job that this release cannot read, so that it does not go round for ever."""
        log.error("job %s cannot be read: %s", id, error)
        failure = Failure("job_failed", "the worker cannot read this request: another release of queuechat wrote it")
        await self.finish(model, [(id, nonce, End(Reason.ERROR, offset, error=failure))])

    async def publish(self, model: str, items: Sequence[Item]) -> list[Verdict]:
        """What one engine step (or several, joined) added to all running jobs, in one call."""
        args = [value for item in items for value in item]
        answer = await self.connection.call("qc1_publish", keys.jobs(model), *args)
        return [Verdict(word.decode()) for word in answer]

    async def finish(self, model: str, ends: Sequence[tuple[str, str, End]]) -> list[Verdict]:
        """End jobs (id, nonce, end) of this worker, each atomically, in one round trip."""
        commands = [
            ("FCALL", "qc1_finish", 1, keys.jobs(model), id, nonce, end.offset, end.reason, end.encode_verdict())
            for id, nonce, end in ends
        ]
        return [Verdict(word.decode()) for word in await self.connection.insist(commands)]

    async def renew(self, model: str, worker: str) -> dict[str, Verdict]:
        """Keep the leases of all that this worker owns; what of it should stop is in the answer."""
        answer = await self.connection.call("qc1_renew", keys.jobs(model), worker)
        return {answer[i].decode(): Verdict(answer[i + 1].decode()) for i in range(0, len(answer), 2)}

    async def release(
        self, model: str, worker: str, ids: Sequence[str] = (), *, crashed: bool, patience_s: float | None = None
    ) -> int:
        """Hand back all (or these) that this worker owns; `crashed` counts against the jobs. Answers how many."""
        args = (worker, int(crashed), *ids)
        return int(await self.connection.call("qc1_release", keys.jobs(model), *args, patience_s=patience_s))

    async def leave(self, model: str, worker: str) -> None:
        """Forget this consumer; one that still owns entries stays until they are claimed."""
        await self.connection.call("qc1_leave", keys.jobs(model), worker)

    async def expire(self, model: str) -> int:
        """End jobs that are over their deadline; answers how many (at most 100 a call)."""
        return int(await self.connection.call("qc1_expire", keys.jobs(model)))


def depth_of(row: list[int]) -> Depth:
    """The Depth that `qc1_depth` answered."""
    waiting, running, bulk, oldest, dead, ended, over_ms = (int(value) for value in row)
    return Depth(waiting, running, bulk, oldest, dead, round(ended * 1000 / over_ms, 3) if over_ms else 0.0)


def _entry(fields: list[bytes] | dict[bytes, bytes]) -> Entry:
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    if b"e" in row:
        return Entry(row[b"e"], "")
    return Entry(row[b"c"], row[b"h"].decode())


def _wait_s(jobs: int, ended: int, over_ms: int) -> float:
    """Seconds until `jobs` places are free at the rate seen, between 1 and 60; 5 when nothing has ended lately."""
    if not ended:
        return 5.0
    return min(max(jobs * over_ms / ended / 1000, 1.0), 60.0)
