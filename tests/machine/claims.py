"""Whether what a claim gave was right.

Which of the jobs that it may take a worker is given is the functions' business: they are judged by what they chose, and
the model learns from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.machine.model import SUSPECT, Job, World


class Ask(NamedTuple):
    """A claim. `trusting`: Redis is up for long enough to believe that leases have run out. With `free` places it may
    be left standing; `stood` is the nonce of the one before it that was, with how many grants the worker `heard` of."""

    worker: str
    nonce: str
    room: int
    bulk_room: int
    again: bool
    fresh: int
    trusting: bool
    free: int = 0
    stood: str = ""
    heard: int = 0


class Touched(NamedTuple):
    """Jobs that a claim ended, with their state; and those that it took from a dead owner for others to take."""

    ended: dict[str, str]
    let_go: list[str]


class Grant(NamedTuple):
    id: str
    nonce: str
    epoch: int
    offset: int
    hash: str
    crashes: int


def judge(world: World, ask: Ask, grants: Sequence[Grant], held: bool, touched: Touched) -> bool:
    """Judge what a claim gave, whether it said HELD, and what else it did on its way. Whether it must stand."""
    ended = touched.ended
    told = _unheard(world, ask)
    mine = told + [job for job in world.alive() if job.owner == ask.nonce]
    free = [job for job in world.alive() if job not in mine and _takeable(job, ask)]
    got = [world.jobs[grant.id] for grant in grants]
    assert len(set(got)) == len(got), "a job was granted twice in one claim"
    new = [job for job in got if job not in mine]
    gone = [world.jobs[id] for id in ended]
    let_go = [world.jobs[id] for id in touched.let_go]
    assert all(job in free for job in (*new, *gone, *let_go)), "a claim touched what it may not take"
    assert ask.again or mine == told, "a nonce was used twice"
    assert all(job in got for job in told), "a claim forgot what was granted to the one that stood"
    assert all(job in got for job in mine), "a repeated claim forgot what the lost one had granted"
    _fits(ask, got, new)
    _watches_suspects(ask, got, new, held, free)
    _gives_all(world, ask, got, gone, held, free)
    if any(job.owner for job in (*new, *gone, *let_go)):
        world.standing.clear()
    for job in let_go:
        assert not job.bereave()
    for job in gone:
        _swept(world, job, ended[job.id])
    for grant, job in zip(grants, got, strict=True):
        _granted(grant, job, ask.stood if job in told else ask.nonce, fresh=job in new)
    return _stands(world, ask, len(got), held)


def _unheard(world: World, ask: Ask) -> list[Job]:
    """What this claim must tell again: all that the claim before it got, unless its worker heard of all that it was
    granted while it stood. Neither that one stands any more, nor this one if its answer was lost."""
    heard = ask.stood and world.take_back(ask.stood, ask.heard)
    if ask.again:
        world.take_back(ask.nonce, 0)
    if heard or not ask.stood:
        return []
    return [job for job in world.alive() if job.owner == ask.stood and job.lane == "jobs"]


def _stands(world: World, ask: Ask, got: int, held: bool) -> bool:
    """Whether it has left nothing behind, and room; then what comes is granted to it."""
    if held or ask.again or got >= ask.free or got >= ask.room or world.waiting("jobs"):
        return False
    orphans = [job for job in world.alive() if job.lane == "jobs" and not job.owner]
    assert not orphans, "a claim stands though something lies around that an owner has lost"
    world.stand(ask.nonce, ask.worker, ask.free - got, ask.room - got)
    return True


def _takeable(job: Job, ask: Ask) -> bool:
    return not job.owner or (job.lapsed and ask.trusting)


def _fits(ask: Ask, got: list[Job], new: list[Job]) -> None:
    """Of no lane more than it has room, with what a lost answer had granted."""
    for lane, room in (("jobs", ask.room), ("bulk", ask.bulk_room)):
        if any(job.lane == lane for job in new):
            assert len([job for job in got if job not in new or job.lane == lane]) <= room, (
                "more than there is room for"
            )


def _watches_suspects(ask: Ask, got: list[Job], new: list[Job], held: bool, free: list[Job]) -> None:
    """A suspect runs beside nothing that has not proven itself, and nothing new beside it."""
    if held:
        tried = [job for job in got if job not in new and job.crashes >= SUSPECT]
        assert tried or any(job.suspect for job in free), "held back for no suspect"
        assert not any(job.state == "waiting" for job in new), "held back, and yet new jobs were given"
    if any(job.suspect for job in new):
        assert held, "a suspect was taken like any other"
        assert len(got) == 1, "a suspect was taken in company"
        assert not ask.fresh, "a suspect was taken beside jobs that have not proven themselves"
    trying = [job for job in got if job not in new and not job.proven]
    if any(job.crashes >= SUSPECT for job in trying):
        assert not new, "something was taken beside a suspect"


def _gives_all(world: World, ask: Ask, got: list[Job], gone: list[Job], held: bool, free: list[Job]) -> None:
    left = [job for job in free if job not in got and job not in gone]
    for lane in ("jobs", "bulk"):
        _in_turn(
            world, lane, [job for job in got if job.state == "waiting"], [job for job in gone if job.state == "waiting"]
        )
    hidden = not ask.trusting and any(job.lapsed for job in world.alive())
    if held or gone or hidden:
        return
    if len(got) < ask.room:
        assert not [job for job in left if job.lane == "jobs"], "there was room, and a job was left"
    if len(got) < ask.bulk_room:
        assert not [job for job in left if job.lane == "bulk"], "there was room, and a bulk job was left"


def _in_turn(world: World, lane: str, got: list[Job], gone: list[Job]) -> None:
    """Tenants take turns; one whose job ended instead of being taken has not had its turn."""
    taken = [job for job in (*got, *gone) if job.lane == lane]
    done = list[Job]()
    while len(done) < len(taken):
        job = world.next(lane, world.turns[lane], done)
        assert job in taken, "a job was passed over"
        world.turns[lane][job.tenant] += job in got
        done.append(job)


def _swept(world: World, job: Job, state: str) -> None:
    died = bool(job.owner) and job.bereave()
    assert state == ("dead" if died else job.verdict), f"a claim ended a job as {state}"
    world.end(job, state)


def _granted(grant: Grant, job: Job, nonce: str, *, fresh: bool) -> None:
    if fresh:
        assert not job.verdict, f"granted, though {job.verdict}"
        assert not job.bereave()
        job.owner, job.state = nonce, "running"
        job.epoch, job.since = job.epoch + 1, len(job.ids)
    job.lapsed = False
    assert grant == Grant(job.id, nonce, job.epoch, len(job.ids), job.hash, job.crashes)
