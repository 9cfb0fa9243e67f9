"""What must hold of the jobs of one model, said once more in Python: no streams, no clock, no atomicity to think of.

Every method foretells the answer to one call. Claims are judged in claims.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

SUSPECT, PROVEN, MAX_CRASHES, MAX_KILLS = 2, 8, 5, 100
MOST = 4  # that are granted to a claim that stands
UNDELIVERED = ("cancelled", "deadline", "dead", "error")


@dataclass(slots=True, eq=False)
class Job:
    id: str
    lane: str
    request: str
    key: str
    place: int  # in the order in which its lane was filled
    tenant: str = ""
    state: str = "waiting"
    owner: str = ""
    lapsed: bool = False  # its owner was not heard of for a lease
    epoch: int = 0
    since: int = 0  # offset at which the epoch began
    crashes: int = 0  # owners in a row that died of themselves
    kills: int = 0  # owners that were killed, or of which nothing was heard
    cancel: bool = False
    late: bool = False
    unwatched: bool = False
    dropped: bool = False
    ends: int = 0
    bills: int = 0
    ids: list[int] = field(default_factory=list)
    hash: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)  # entry id, hash or reason

    @property
    def alive(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def proven(self) -> bool:
        return len(self.ids) - self.since >= PROVEN

    @property
    def verdict(self) -> str:
        """Why it must not go on."""
        return "cancelled" if self.cancel else "deadline" if self.late else "cancelled" if self.unwatched else ""

    @property
    def suspect(self) -> bool:
        """Whether it is one, once an owner of which nothing is heard is counted as gone."""
        return self.crashes >= SUSPECT and not (self.owner and self.proven)

    def bereave(self, *, crashed: bool = False) -> bool:
        """Its owner is gone; True when that was once too often."""
        if self.owner:
            before = (0, 0) if self.proven else (self.crashes, self.kills)
            self.crashes, self.kills = before[0] + crashed, before[1] + (not crashed)
        self.owner, self.lapsed = "", False
        return self.crashes >= MAX_CRASHES or self.kills >= MAX_KILLS


@dataclass(slots=True)
class Standing:
    """A claim that stands: `left` more may be granted to it, until it is `over`."""

    worker: str
    free: int
    left: int
    granted: int = 0
    over: bool = False


class World:
    """All jobs of a model, and the claims that stand."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.keys: dict[str, tuple[str, str]] = {}  # idempotency key: request, body
        self.last_place = 0
        self.turns: dict[str, dict[str, int]] = {"jobs": {}, "bulk": {}}  # of each lane, by tenant
        self.standing: dict[str, Standing] = {}  # by nonce
        self.deaf = set[str]()  # workers for whom nobody listens

    def alive(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.alive]

    def waiting(self, lane: str) -> list[Job]:
        """Those never taken, in the order in which they came."""
        jobs = [job for job in self.jobs.values() if job.state == "waiting" and job.lane == lane]
        return sorted(jobs, key=lambda job: job.place)

    def next(self, lane: str, turns: dict[str, int], without: Collection[Job] = ()) -> Job | None:
        """Whose turn it is: the first job of the tenant that has had least."""
        queues = {job.tenant: job for job in reversed(self.waiting(lane)) if job not in without}
        if not queues:
            return None
        return queues[min(queues, key=lambda tenant: (turns[tenant], tenant))]

    def line(self, lane: str) -> list[Job]:
        """All that wait, in the order in which they will be taken."""
        turns, line = dict(self.turns[lane]), list[Job]()
        while job := self.next(lane, turns, line):
            turns[job.tenant] += 1
            line.append(job)
        return line

    def line_up(self, job: Job) -> None:
        """It comes, with no older right than those have who wait."""
        turns = self.turns[job.lane]
        first = self.next(job.lane, turns)
        if not first:
            turns.clear()
        turns[job.tenant] = max(turns.get(job.tenant, 0), turns[first.tenant] if first else 0)
        self.last_place += 1
        self.jobs[job.id], job.place = job, self.last_place

    def _too_many(self, lane: str, tenant: str, count: int, limit: int) -> bool:
        waiting = self.waiting(lane)
        if not limit or len(waiting) + count <= limit:
            return False
        own = sum(job.tenant == tenant for job in waiting)
        tenants = len({job.tenant for job in waiting} | {tenant})
        full = len(waiting) + count > 2 * limit and lane != "bulk"
        return tenants == 1 or own + count > limit // tenants or full

    def owned(self, worker: str) -> list[Job]:
        return [job for job in self.alive() if job.owner.startswith(f"{worker}/")]

    def dead(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state == "dead" and not job.dropped]

    # -- front ends ------------------------------------------------------------------------------------------------

    def enqueue(self, ids: Sequence[str], lane: str, limit: int, key: str, body: str, tenant: str = "") -> str:
        ids = [id for id in ids if id not in self.jobs]
        if not ids:
            return "OK"
        request, known = self.keys.get(key, ("", ""))
        if request and self.jobs[request].state not in UNDELIVERED:
            return f"DUP {request}" if known == body else "MISMATCH"
        if self._too_many(lane, tenant, len(ids), limit):
            return "FULL"
        for id in ids:
            self.line_up(Job(id, lane, ids[0], key, 0, tenant))
        if key:
            self.keys[key] = (ids[0], body)
        return "OK"

    def cancel(self, id: str) -> str:
        job = self.jobs.get(id)
        if not job or job.dropped:
            return "MISSING"
        if not job.alive:
            return "ALREADY"
        if job.owner:
            job.cancel = True
        else:
            self.end(job, "cancelled")
        return "OK"

    def watch(self, ids: Sequence[str]) -> list[tuple[str, int, int]]:
        """Places are told when all that were late have gone."""
        sights = [self._sight(id) for id in ids]
        places = {job.id: place for place, job in enumerate(self.line("jobs"), 1)}
        return [(*sight, places.get(id, 0)) for id, sight in zip(ids, sights, strict=True)]

    def _sight(self, id: str) -> tuple[str, int]:
        job = self.jobs.get(id)
        if not job or job.dropped:
            return ("", 0)
        seen = job.state
        job.unwatched = job.unwatched and not job.alive
        if job.alive and job.late:
            self.end(job, "deadline")
        return (seen, len(job.ids))

    def expire(self) -> int:
        late = [job for job in self.alive() if job.late]
        for job in late:
            self.end(job, "deadline")
        return len(late)

    def redrive(self, id: str) -> str:
        job = self.jobs[id]
        if job.dropped:
            return "MISSING"
        if job.state != "dead":
            return "ALREADY"
        self.line_up(job)
        job.state, job.crashes, job.kills = "waiting", 0, 0
        job.cancel = job.late = job.unwatched = False
        job.bills -= 1
        job.log.pop()
        return "OK"

    def drop(self, id: str) -> int:
        job = self.jobs[id]
        gone = job.state == "dead" and not job.dropped
        job.dropped = job.dropped or gone
        return int(gone)

    # -- claims that stand -----------------------------------------------------------------------------------------

    def stand(self, nonce: str, worker: str, free: int, left: int) -> None:
        self.standing[nonce] = Standing(worker, free, min(free, left, MOST))

    def take_back(self, nonce: str, heard: int) -> bool:
        """Nothing is granted to it any more. True when all that was has been heard of."""
        one = self.standing.pop(nonce, None)
        return one is not None and one.granted == heard

    def roomiest(self, kept: Collection[str]) -> list[str]:
        """Of which claims that stand one is next to be granted a job. Those that are over go, and so do the deaf that
        are asked for before it; of deaf ones with as much room only Redis says (`kept`) whether they were."""
        self.standing = {nonce: one for nonce, one in self.standing.items() if not one.over}
        open = {nonce: one for nonce, one in self.standing.items() if one.left}
        able = {nonce: one.free for nonce, one in open.items() if one.worker not in self.deaf}
        most = max(able.values(), default=0)
        for nonce in open.keys() - able.keys():
            if open[nonce].free > most or (open[nonce].free == most and nonce not in kept):
                del self.standing[nonce]
        return [nonce for nonce, free in able.items() if free == most]

    # -- workers ---------------------------------------------------------------------------------------------------

    def publish(self, id: str, nonce: str, first: int, ids: Sequence[int], before: str, after: str) -> str:
        job = self.jobs[id]
        at, end = len(job.ids), first + len(ids)
        if job.owner != nonce or job.dropped:
            return "FENCED"
        if end <= at:
            return "DUP"
        if first != at:
            return "GAP"
        if before != job.hash:
            return "DIVERGED"
        if job.verdict:
            return "DEADLINE" if job.verdict == "deadline" else "CANCEL"
        job.ids += ids
        job.hash = after
        job.log.append((f"{end}-0", after))
        return "OK"

    def finish(self, id: str, nonce: str, offset: int, reason: str) -> str:
        job = self.jobs[id]
        if not job.alive:
            return "ALREADY"
        if job.owner != nonce:
            return "FENCED"
        if offset != len(job.ids):
            return "GAP"
        self.end(job, reason)
        return "OK"

    def renew(self, worker: str) -> dict[str, str]:
        told = {}
        for job in self.owned(worker):
            job.lapsed = False
            told[job.id] = {"": "OK", "deadline": "DEADLINE"}.get(job.verdict, "CANCEL")
        return told

    def release(self, worker: str, how: int, only: Sequence[str]) -> int:
        """How: 0 handed back, 1 killed, 2 died of itself."""
        self.standing.clear()
        jobs = self.owned(worker)
        doubtful = [job for job in jobs if not job.proven]
        handed = [job for job in jobs if not only or job.id in only]
        for job in handed:
            guilty = how == 2 and doubtful == [job]
            if not how:
                job.crashes, job.kills = (0, 0) if job.proven else (job.crashes, job.kills)
                job.owner, job.lapsed = "", False
            elif job.bereave(crashed=how == 2) or (guilty and job.crashes > SUSPECT):
                self.end(job, "dead")
        return len(handed)

    def end(self, job: Job, reason: str) -> None:
        job.state, job.owner, job.lapsed = reason, "", False
        job.ends += 1
        job.bills += 1
        job.log.append((f"{len(job.ids)}-{job.ends}", reason))
        holder, _ = self.keys.get(job.key, ("", ""))
        if reason in UNDELIVERED and holder == job.id:
            self.keys.pop(job.key, None)
