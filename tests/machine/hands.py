"""What a machine does to Redis beside calling functions, and what its workers believe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from queuechat import keys
from queuechat.bus import Bus, Item
from queuechat.protocol import Chunk, End, PrefixHash, Reason
from tests.machine.checks import MODEL
from tests.machine.claims import Touched
from tests.machine.model import MAX_KILLS, PROVEN, SUSPECT, Job, World

HOUR = 3_600_000
LAPSED_MS = 11 * HOUR
SHORT_MS = HOUR // 2  #: a lease that has run out, and that no stall of this machine lets run out
LONG_MS = 10 * HOUR  #: one that has run out by the clock, but workers have not been heard for so long
GRACE_MS = 900  #: of a viewer who left; a job that is watched has LONG_MS


@dataclass(slots=True, eq=False)
class Belief:
    """A job as a worker sees it, rightly or not. `active` until the worker knows that it has lost it."""

    id: str
    worker: str
    nonce: str
    epoch: int
    since: int
    suspect: bool
    ids: list[int] = field(default_factory=list)
    active: bool = True

    @property
    def proven(self) -> bool:
        return len(self.ids) - self.since >= PROVEN

    @property
    def trying(self) -> bool:
        return self.active and self.suspect and not self.proven

    def item(self, kind: str, count: int, *, faithful: bool) -> Item:
        """A publish of the next tokens, or one that a sound worker would not make."""
        first = {"again": max(len(self.ids) - count, 0), "skip": len(self.ids) + 1}.get(kind, len(self.ids))
        known = self.ids[:first]
        known += [self.token(at, faithful=faithful) for at in range(len(known), first)]
        new = [self.token(at, faithful=faithful) for at in range(first, first + count)]
        before = "0123456789abcdef" if kind == "diverged" else hash_of(known)
        chunk = Chunk(first, count, "", new)
        return Item(self.id, self.nonce, first, count, before, hash_of(known + new), chunk.encode())

    def end(self, reason: str, gap: int = 0) -> tuple[str, str, End]:
        return (self.id, self.nonce, End(Reason(reason), len(self.ids) + gap, prompt_tokens=3))

    def token(self, at: int, *, faithful: bool) -> int:
        """The same from every owner, or (level 1: equal only in distribution) another from each."""
        if at < len(self.ids):
            return self.ids[at]
        return 1000 * int(self.id.partition(".")[0][1:]) + at + (0 if faithful else 100_000 * self.epoch)


def hash_of(ids: list[int]) -> str:
    return PrefixHash().update(ids) if ids else ""


def believe(job: Job, worker: str, nonce: str) -> Belief:
    """What a worker knows when it has read the log up to where its claim begins."""
    return Belief(job.id, worker, nonce, job.epoch, len(job.ids), job.crashes >= SUSPECT, list(job.ids))


async def ask(bus: Bus, *command: str | int) -> Any:
    """One command, though Redis may have been away."""
    return (await bus.connection.insist([command]))[0]


async def refresh(bus: Bus, jobs: list[Job], idle_ms: int = 0) -> None:
    """Their owners were last heard of `idle_ms` ago."""
    if not jobs:
        return
    sids = await bus.connection.insist([("HGET", keys.job(MODEL, job.id), "sid") for job in jobs])
    await bus.connection.insist(
        [
            ("XCLAIM", f"qc:{{{MODEL}}}:{job.lane}", keys.GROUP, job.owner.partition("/")[0], 0, sid, "IDLE", idle_ms)
            for job, sid in zip(jobs, sids, strict=True)
        ]
    )


async def silent(bus: Bus) -> set[str]:
    """The jobs of whose holders nothing was heard for an hour, or that were handed back."""
    found = set[str]()
    for stream in (keys.jobs(MODEL), keys.bulk(MODEL)):
        if await ask(bus, "EXISTS", stream):
            for row in await bus.connection.redis.xpending_range(stream, keys.GROUP, "-", "+", 100, idle=HOUR):
                ((_, fields),) = await ask(bus, "XRANGE", stream, row["message_id"], row["message_id"])
                found.add(fields[b"id"].decode())
    return found


async def time_ms(bus: Bus) -> int:
    seconds, micros = await ask(bus, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def make_late(bus: Bus, job: Job) -> None:
    """Move its life back, so that its deadline was a second ago."""
    key = keys.job(MODEL, job.id)
    deadline, queued = (int(value) for value in await ask(bus, "HMGET", key, "deadline", "queued"))
    late = await time_ms(bus) - 1000
    await ask(bus, "HSET", key, "deadline", late, "queued", queued - (deadline - late))
    await ask(bus, "ZADD", keys.deadlines(MODEL), late, job.id)


async def kill_often(bus: Bus, job: Job) -> None:
    """Its owners were killed all the time, by whomever."""
    job.kills = MAX_KILLS - 1
    await ask(bus, "HSET", keys.job(MODEL, job.id), "kills", job.kills)


async def leave_alone(bus: Bus, job: Job) -> None:
    """Its viewer was last seen in 1970."""
    await ask(bus, "HSET", keys.job(MODEL, job.id), "seen", 0, "grace", GRACE_MS)


async def watch_again(bus: Bus, job: Job) -> None:
    """Nobody leaves by himself while a slow machine is between two steps."""
    key = keys.job(MODEL, job.id)
    assert await ask(bus, "HGET", key, "seen") != b"0", "a watched job has no viewer mark"
    await ask(bus, "HSET", key, "grace", LONG_MS)


async def touched(bus: Bus, world: World, granted: set[str]) -> Touched:
    """What a claim did to those that the model takes to be alive, beside granting some."""
    jobs = world.alive()
    if not jobs:
        return Touched({}, [])
    rows = await bus.connection.insist([("HMGET", keys.job(MODEL, job.id), "state", "own") for job in jobs])
    ended, let_go = {}, []
    for job, (state, own) in zip(jobs, rows, strict=True):
        if state not in (b"waiting", b"running"):
            ended[job.id] = state.decode()
        elif job.owner and not own and job.id not in granted:
            let_go.append(job.id)
    return Touched(ended, let_go)


async def run_out(bus: Bus, nonce: str) -> None:
    """The worker whose claim stands was not heard of for longer than it may be granted anything."""
    _, _, rest = (await ask(bus, "HGET", keys.standing(MODEL), nonce)).partition(b" ")
    await ask(bus, "HSET", keys.standing(MODEL), nonce, b"1 " + rest)


async def owners(bus: Bus, ids: list[str]) -> dict[str, str]:
    """By whom these jobs were taken; nobody is ""."""
    found = await bus.connection.insist([("HGET", keys.job(MODEL, id), "own") for id in ids]) if ids else []
    return {id: own.decode() for id, own in zip(ids, found, strict=True)}


async def standing(bus: Bus) -> set[str]:
    """The nonces of the claims that stand, for all that Redis knows."""
    return {nonce.decode() for nonce in await ask(bus, "HKEYS", keys.standing(MODEL))}


async def wind(bus: Bus, *, away_ms: int = 0) -> None:
    """Workers were last heard of `away_ms` ago, and before that for two hours: short leases count, long ones do not."""
    now = await time_ms(bus)
    await ask(bus, "HSET", keys.pulse(MODEL), "at", now - away_ms, "resumed", now - 2 * HOUR)
