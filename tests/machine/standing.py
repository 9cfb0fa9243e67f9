"""Whether jobs were granted to claims that stand as they must be, and whether their workers were told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from queuechat.bus import Grant
from queuechat.protocol import Job as Request
from tests.machine.model import Job, World

LONGEST = 256 * 1024  #: of a request that is granted unasked


class Told(NamedTuple):
    """What a worker must hear of a job that was granted to its claim; `left` more may be."""

    worker: str
    nonce: str
    id: str
    epoch: int
    left: int


def judge_grants(world: World, new: Sequence[Request], owners: Mapping[str, str], kept: Collection[str]) -> list[Told]:
    """What the workers must have been told, now that Redis says to whom of the new ones each was granted, and which
    claims it has kept.

    As many are granted as may be, in their turn, and each to a worker with most room.
    """
    told, may = list[Told](), _may_be_granted(world, new)
    while may and len(told) < len(new):
        roomiest = world.roomiest(kept)
        if not roomiest:
            break
        job = world.next("jobs", world.turns["jobs"])
        assert job, "nobody is next, though jobs wait"
        owner = owners[job.id]
        assert owner, "a claim stands, and a job was not granted to it in its turn"
        assert owner in roomiest, "a job was granted to another claim than that of the worker with most room"
        told.append(_grant(world, job, owner))
    taken = {one.id for one in told}
    assert not [id for id, owner in owners.items() if owner and id not in taken], "granted, though no claim stands"
    return told


def _may_be_granted(world: World, new: Sequence[Request]) -> bool:
    """Nobody is passed over, and what is long waits until it is asked for."""
    short = all(len(request.encode()) <= LONGEST for request in new)
    waiting = {job.id for job in world.waiting("jobs")}
    return short and all(request.lane == "jobs" for request in new) and waiting == {request.id for request in new}


def _grant(world: World, job: Job, nonce: str) -> Told:
    one = world.standing[nonce]
    one.free, one.left, one.granted = one.free - 1, one.left - 1, one.granted + 1
    world.turns["jobs"][job.tenant] += 1
    job.owner, job.state, job.epoch = nonce, "running", job.epoch + 1
    return Told(one.worker, nonce, job.id, job.epoch, one.left)


def judge_messages(told: Sequence[Told], new: Sequence[Request], heard: Sequence[tuple[str, bytes]]) -> None:
    """Whether exactly this was said to workers, and those that wait were woken for the rest."""
    grants = [(worker, Grant.decode(text)) for worker, text in heard if worker != "wake"]
    assert [
        Told(worker, grant.claim.nonce, grant.claim.job.id, grant.claim.epoch, grant.left) for worker, grant in grants
    ] == list(told), "workers were told something else than what was granted"
    requests = {request.id: request for request in new}
    for _, grant in grants:
        request = requests[grant.claim.job.id]
        assert grant.claim.job == request, "another request was told"
        assert grant.claim.left_ms == request.deadline_s * 1000, "another deadline was told"
    rest = len(new) - len(told)
    woken = [int(text) for whom, text in heard if whom == "wake"]
    assert woken == ([rest] if rest else []), "woken for other jobs than those that wait"
