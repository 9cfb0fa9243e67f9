"""The verbs: what a front end and a worker can ask of Redis, each one Redis function of ours or one plain read."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any

from queuechat import keys
from queuechat.bus.connection import Connection
from queuechat.bus.listener import Listener
from queuechat.bus.values import Accepted, Claim, Claims, Entry, Item, Repeated, Sight, Stand, Verdict
from queuechat.errors import IdempotencyMismatch, InvalidRequest, MemoryLow, QueuechatError, QueueFull, WaitTooLong
from queuechat.protocol import Depth, End, Failure, Job, Reason

log = logging.getLogger(__name__)

_LARGE = 1 << 20  # bytes of a claim; less than what one answer holds at most


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
        self,
        jobs: Sequence[Job],
        *,
        limit: int,
        grace_s: float,
        idem: tuple[str, str] | None = None,
        keep_s: float = 0,
    ) -> Accepted | Repeated:
        """Put all jobs of one request (same model and lane) into the queue, or none.

        Args:
            limit: how many may wait; 0 is no limit.
            grace_s: how long they go on with nobody watching; 0 is for ever.
            idem: digests of the idempotency key and of the body.
            keep_s: how long their logs are kept after the end, when that is longer than usual.

        Raises:
            IdempotencyMismatch: the key was used with another body.
            QueueFull: they may not all wait.
            WaitTooLong: by how fast jobs end now, their deadline would pass before their turn.
            MemoryLow: Redis needs what memory it has for the answers that run.
        """
        head = jobs[0]
        idem_key = keys.idem(head.model, idem[0]) if idem else ""
        body = idem[1] if idem else ""
        args: list[Any] = [head.lane, limit, round(head.deadline_s * 1000), round(grace_s * 1000), head.tenant]
        args += [idem_key, body]
        for job in jobs:
            args += [job.id, job.encode()]
        if keep_s:
            args.append(round(keep_s * 1000))
        answer = await self.connection.call("qc1_enqueue", keys.jobs(head.model), *args)
        match answer[0]:
            case b"OK":
                return Accepted()
            case b"DUP":
                return Repeated(answer[1].decode())
        raise _refusal(head.model, len(jobs), answer)

    async def cancel(self, model: str, ids: Sequence[str]) -> list[str]:
        """OK, ALREADY (it had ended) or MISSING for each id."""
        answer = await self.connection.call("qc1_cancel", keys.jobs(model), *ids)
        return [word.decode() for word in answer]

    async def let_go(self, model: str, ids: Sequence[str]) -> None:
        """Keep these jobs and their logs for no longer than others after their end: all that they said was read."""
        await self.connection.call("qc1_let_go", keys.jobs(model), *ids)

    async def watch(self, model: str, ids: Sequence[str]) -> list[Sight]:
        """Renew the viewer marks of these jobs and see where they stand."""
        answer = await self.connection.call("qc1_watch", keys.jobs(model), *ids)
        return [Sight(answer[i].decode(), answer[i + 1], answer[i + 2]) for i in range(0, len(answer), 3)]

    async def read_log(
        self, model: str, id: str, after: int = 0, count: int = 500, *, with_last: bool = False
    ) -> list[Entry]:
        """Up to `count` log entries that follow offset `after`, in order; `with_last` also the one that ends there."""
        low = f"{'' if with_last else '('}{after}-0" if after else "-"
        command = ("XRANGE", keys.log(model, id), low, "+", "COUNT", count)
        rows = (await self.connection.insist([command]))[0]
        return [_entry(fields) for _, fields in rows]

    async def depth(self, model: str) -> Depth:
        """How deep the queues are now; also renews the key that autoscalers read."""
        row = await self.connection.call("qc1_depth", keys.jobs(model), keys.DEPTH_MS)
        return depth_of(row)

    async def find_keys(self, pattern: str) -> list[str]:
        """Every key that matches (glob; braces mean themselves), once each. For audits: it walks all keys there are."""

        async def walk() -> list[str]:
            return sorted({key.decode() async for key in self.connection.redis.scan_iter(match=pattern, count=1000)})

        return await self.connection.patiently(walk, self.connection.patience_s)

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
        fresh: int = 0,
        turn: int | None = None,
        reads_room: int = 0,
        stand: Stand | None = None,
    ) -> Claims:
        """Take up to `room` jobs, bulk ones only up to `bulk_room` in all, and `reads_room` beside them that only read.
        A worker waits by listening to `wake`.

        `fresh` of the jobs that it runs have not proven themselves yet: no suspect is given to it before they have.
        `nonce` ("<worker>/<life>.<random>") fences this call's jobs. A call whose answer was lost is made with the same
        nonce and `again`. `turn` rises with each try, so that one which arrives late does nothing.

        With `stand` the claim is left standing when nothing waits and there is still room: for STANDING_MS jobs are
        granted to its nonce as they come, and told on the worker's channel of grants (`Grant`). What the claim before
        it was granted and nobody heard of is among the answers, with that claim's nonce; so may be what was heard of.
        """
        args: list[Any] = [worker, nonce, lease_ms, room, bulk_room, int(again), fresh]
        args += ["" if turn is None else turn, reads_room]
        args += [] if stand is None else [stand.before, stand.heard, stand.free, keys.STANDING_MS]
        rows = await self.connection.call("qc1_claim", keys.jobs(model), *args, patience_s=0)
        claims, word = Claims(), rows.pop() if rows and isinstance(rows[-1], bytes) else b""
        claims.held_back, claims.stands = word == b"HELD", word == b"STANDS"
        least = min((limit for limit in (room, bulk_room, reads_room) if limit > 0), default=1)
        claims.full = len(rows) >= least or sum(len(row[1]) for row in rows) >= _LARGE
        for id, raw, epoch, offset, digest, left, crashes, *stood in rows:
            owner = stood[0].decode() if stood else nonce
            try:
                job = Job.decode(raw)
            except ValueError as error:
                await self._give_up(model, id.decode(), owner, int(offset), error)
                continue
            claims.append(Claim(job, owner, int(epoch), int(offset), digest.decode(), int(left), int(crashes)))
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

    async def renew(self, model: str, owner: str) -> dict[str, Verdict]:
        """Keep the leases of all that a worker, or one of its lives ("<worker>/<life>"), owns.

        Answers what it owns, and what of that should stop.
        """
        answer = await self.connection.call("qc1_renew", keys.jobs(model), owner)
        return {answer[i].decode(): Verdict(answer[i + 1].decode()) for i in range(0, len(answer), 2)}

    async def release(
        self,
        model: str,
        owner: str,
        ids: Sequence[str] = (),
        *,
        crashed: bool,
        by_itself: bool = False,
        patience_s: float | None = None,
    ) -> int:
        """Hand back all (or these) that a worker, or one of its lives, owns; answers how many.

        Args:
            crashed: the worker died, which counts against the jobs.
            by_itself: nobody killed it, so the only job that had not proven itself is to blame.
        """
        how = 2 if crashed and by_itself else int(crashed)
        return int(await self.connection.call("qc1_release", keys.jobs(model), owner, how, *ids, patience_s=patience_s))

    async def leave(self, model: str, worker: str) -> None:
        """Forget this consumer; one that still owns entries stays until they are claimed."""
        await self.connection.call("qc1_leave", keys.jobs(model), worker)

    async def expire(self, model: str) -> int:
        """End jobs that are over their deadline; answers how many (at most 100 a call)."""
        return int(await self.connection.call("qc1_expire", keys.jobs(model)))


def depth_of(row: list[int]) -> Depth:
    """The Depth that `qc1_depth` answered."""
    waiting, running, bulk, oldest, dead, ended, over_ms, pace_us = (int(value) for value in row)
    rate = round(ended * 1000 / over_ms, 3) if over_ms else 0.0
    return Depth(waiting, running, bulk, oldest, dead, rate, pace_us / 1e6)


def _entry(fields: list[bytes] | dict[bytes, bytes]) -> Entry:
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    if b"e" in row:
        return Entry(row[b"e"], "")
    return Entry(row[b"c"], row[b"h"].decode())


def memory_low() -> MemoryLow:
    message = "Redis has little memory left; no new requests until some of it is free"
    return MemoryLow(message, retry_after=_soon(5))


def _refusal(model: str, count: int, answer: list[Any]) -> QueuechatError:
    match answer[0]:
        case b"MISMATCH":
            return IdempotencyMismatch("this Idempotency-Key was used before with another body")
        case b"MEMORY":
            return memory_low()
        case b"LATE":
            return WaitTooLong(
                f"{answer[1]} requests wait for {model!r}: this one would be taken in about {answer[2] / 1000:.0f} s, "
                "after its deadline",
                retry_after=_soon(answer[3] / 1000),
            )
    if not answer[1]:
        return InvalidRequest(f"{count} answers at once are more than may wait for {model!r} at all", param="n")
    wait_s = answer[2] / 1000 if answer[2] else 5
    return QueueFull(f"{answer[1]} requests wait for {model!r} already; come back later", retry_after=_soon(wait_s))


def _soon(seconds: float) -> float:
    """Between 1 and 60 s, a fifth more or less at random: who was refused together need not come back together."""
    return min(max(seconds, 1.0), 60.0) * random.uniform(0.8, 1.2)
