"""Every transition of queuechat/functions in any order, on a real Redis, against the model.

A worker may die, stall and go on as a zombie; any answer may be lost and any call made twice; a reader may lose any
message. After each step Redis must hold exactly what the model says.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from queuechat.protocol import Job as Request
from queuechat.protocol import choice_id
from tests.machine import hands
from tests.machine.acts import WORKERS, Acts, Call, pick
from tests.machine.checks import KEYS, MODEL
from tests.machine.hands import Belief
from tests.machine.model import Job
from tests.machine.reader import Reader

number = st.integers(0, 63)
worker = st.sampled_from(WORKERS)
twice = st.sampled_from((1, 1, 1, 2))
kind = st.sampled_from(("next", "next", "next", "next", "again", "skip", "diverged"))
part = st.tuples(number, kind, st.sampled_from((1, 2, 3, 8, 12)))
reason = st.sampled_from(("stop", "stop", "length", "error", "cancelled", "deadline"))
lane = st.sampled_from(("jobs", "jobs", "bulk"))
tenant = st.sampled_from(("", "", "ann", "Bob"))
zombie = st.sampled_from((False, False, True))


class Machine(Acts):
    """The rules: Hypothesis chooses which act comes next, and with whom."""

    def step(self, *acts: Coroutine[Any, Any, Any]) -> None:
        """Do these, then look at everything."""

        async def do() -> None:
            await hands.wind(self.bus)
            for act in acts:
                await act
            await self.compare()

        self.sound = False
        try:
            self.ground.run(do())
        finally:
            for act in acts:
                act.close()
        self.sound = True

    def some(self, number: int, *, zombie: bool) -> Belief:
        """What a worker believes to hold; as a `zombie` also what it has lost."""
        active = [belief for belief in self.beliefs if belief.active]
        return pick(self.beliefs if zombie or not active else active, number)

    def ids(self, numbers: Sequence[int]) -> list[str]:
        known = [*self.world.jobs, "nobody"]
        return list(dict.fromkeys(pick(known, number) for number in numbers))

    def living(self) -> list[Job]:
        return self.world.alive()

    def any_free(self) -> bool:
        """Whether a claim can give something."""
        return any(not job.owner or job.lapsed for job in self.world.alive())

    def any_owned(self) -> bool:
        return any(job.owner for job in self.world.alive())

    @initialize(faithful=st.sampled_from((True, True, False)), lanes=st.lists(lane, min_size=1, max_size=4))
    def begin(self, faithful: bool, lanes: list[str]) -> None:
        """Every owner of a job writes the same, or (level 1) each its own."""
        self.faithful = faithful
        for lane in lanes:
            self.a_request_comes(1, lane, 0, "", "", 1)

    @rule(
        choices=st.sampled_from((1, 1, 2)),
        lane=lane,
        limit=st.sampled_from((0, 0, 0, 1, 3)),
        key=st.sampled_from(("", KEYS[0], *KEYS)),
        body=st.sampled_from(("x", "x", "y")),
        times=twice,
        tenant=tenant,
    )
    def a_request_comes(
        self, choices: int, lane: str, limit: int, key: str, body: str, times: int, tenant: str = ""
    ) -> None:
        request = f"j{len(self.calls)}"
        ids = [choice_id(request, k) for k in range(choices)]
        jobs = [Request(id, MODEL, prompt="hi", lane=lane, tenant=tenant) for id in ids]  # type: ignore[arg-type]
        call = Call(jobs, limit, key, body)
        self.calls.append(call)
        self.step(*(self.enqueue(call) for _ in range(times)))

    @rule(
        lane=lane,
        tenants=st.lists(tenant, min_size=3, max_size=7),
        rooms=st.lists(st.integers(1, 2), min_size=1, max_size=4),
        worker=worker,
    )
    def tenants_compete(self, lane: str, tenants: list[str], rooms: list[int], worker: str) -> None:
        """Each comes with a job, and some of the jobs are taken; then all who wait ask for their places."""
        for tenant in tenants:
            self.a_request_comes(1, lane, 0, "", "", 1, tenant)
        for room in rooms:
            self.step(self.claim(worker, room, room), self.watch([job.id for job in self.living()]))

    @precondition(lambda self: self.calls)
    @rule(at=number)
    def a_request_comes_again(self, at: int) -> None:
        call = pick(self.calls, at)
        known = [self.world.jobs[job.id] for job in call.jobs if job.id in self.world.jobs]
        if not any(job.dropped for job in known):  # what was dropped is not known any more
            self.step(self.enqueue(call))

    @precondition(lambda self: self.any_free() or self.lost)
    @rule(worker=worker, room=st.integers(1, 4), bulk=st.integers(0, 4), lost=zombie, times=twice)
    def a_worker_claims(self, worker: str, room: int, bulk: int, lost: bool, times: int) -> None:
        self.step(*(self.claim(worker, room, bulk, lost=lost or k + 1 < times) for k in range(times)))

    @rule(worker=worker, room=st.integers(1, 3), lanes=st.tuples(lane, lane), suspect=st.booleans(), drained=zombie)
    def an_answer_is_lost(self, worker: str, room: int, lanes: tuple[str, str], suspect: bool, drained: bool) -> None:
        """A claim is made again after something else has come, or was handed back; what it gave may be a suspect."""
        for _ in range(2 * suspect):
            self.step(self.claim(worker, room, room), self.release(worker, 2))
        self.a_request_comes(1, lanes[0], 0, "", "", 1)
        self.step(self.claim(worker, room, room, lost=True))
        self.a_request_comes(1, lanes[1], 0, "", "", 1)
        if drained:
            other = pick(WORKERS, WORKERS.index(worker) + 1)
            self.step(self.claim(other, 1, 1), self.release(other, 0))
        self.step(self.claim(worker, room, room))

    @precondition(any_free)
    @rule(worker=worker, room=st.integers(1, 4))
    def a_worker_claims_when_leases_do_not_count(self, worker: str, room: int) -> None:
        self.step(self.claim(worker, room, room, trusting=False))

    @precondition(lambda self: self.any_free() and not any(job.unwatched for job in self.world.alive()))
    @rule(worker=worker)
    def redis_was_away_for_an_hour(self, worker: str) -> None:
        """Nobody could renew, so nothing has run out but what was handed back."""
        self.step(*(self.lapse(worker) for worker in WORKERS), self.claim_after_an_hour(worker))

    async def claim_after_an_hour(self, worker: str) -> None:
        await hands.wind(self.bus, away_ms=hands.HOUR)
        await self.claim(worker, 2, 2, trusting=False, lease_ms=hands.SHORT_MS)
        await hands.wind(self.bus)

    @precondition(lambda self: self.beliefs)
    @rule(parts=st.lists(part, min_size=1, max_size=3), zombie=zombie, times=twice)
    def workers_publish(self, parts: list[tuple[int, str, int]], zombie: bool, times: int) -> None:
        parts = parts if times == 1 else parts[:1]
        chosen = [(self.some(at, zombie=zombie), kind, count) for at, kind, count in parts]
        first = {belief: (belief, kind, count) for belief, kind, count in chosen}  # one publish is in flight per job
        self.step(
            *(self.publish([*first.values()] if k == 0 else self.repeated([*first.values()])) for k in range(times))
        )

    @precondition(lambda self: any(belief.active for belief in self.beliefs))
    @rule(at=number, count=st.integers(1, 9), then=kind, end=zombie)
    def a_worker_does_its_work(self, at: int, count: int, then: str, end: bool) -> None:
        """It says something, then something that may be wrong, and perhaps ends."""
        belief = self.some(at, zombie=False)
        self.step(self.publish([(belief, "next", count)]), self.publish([(belief, then, 1)]))
        if end and belief.active:
            self.step(self.finish([(belief, "stop", 0)]))

    def repeated(self, parts: list[tuple[Belief, str, int]]) -> list[tuple[Belief, str, int]]:
        """The same call again, as it looks to a worker that has heard of the first."""
        return [(belief, "again" if kind == "next" else kind, count) for belief, kind, count in parts]

    @precondition(lambda self: self.beliefs)
    @rule(ends=st.lists(st.tuples(number, reason, zombie), min_size=1, max_size=2), zombie=zombie, times=twice)
    def workers_finish(self, ends: list[tuple[int, str, bool]], zombie: bool, times: int) -> None:
        parts = [(self.some(at, zombie=zombie), reason, int(gap)) for at, reason, gap in ends]
        self.step(*(self.finish(parts) for _ in range(times)))

    @precondition(any_owned)
    @rule(worker=worker, times=twice)
    def a_supervisor_renews(self, worker: str, times: int) -> None:
        self.step(*(self.renew(worker) for _ in range(times)))

    @precondition(any_owned)
    @rule(worker=worker, how=st.integers(0, 2), times=twice)
    def a_supervisor_releases(self, worker: str, how: int, times: int) -> None:
        self.step(*(self.release(worker, how) for _ in range(times)))

    @precondition(lambda self: self.beliefs and self.any_owned())
    @rule(at=number, how=st.integers(0, 2), times=twice)
    def a_part_is_released(self, at: int, how: int, times: int) -> None:
        belief = self.some(at, zombie=False)
        self.step(*(self.release(belief.worker, how, [belief.id]) for _ in range(times)))

    @precondition(lambda self: self.beliefs)
    @rule(at=number, killed=st.booleans())
    def nothing_is_heard_of_a_worker(self, at: int, killed: bool) -> None:
        worker = self.some(at, zombie=False).worker
        if killed:
            self.forget(worker)
        self.step(self.lapse(worker))

    @precondition(any_free)
    @rule(
        worker=worker,
        how=st.sampled_from((1, 2, 2, 3)),
        times=st.integers(2, 5),
        room=st.integers(1, 3),
        tokens=st.lists(st.sampled_from((0, 0, 1, 9)), min_size=5, max_size=5),
    )
    def workers_die_one_after_another(self, worker: str, how: int, times: int, room: int, tokens: list[int]) -> None:
        """Each takes what there is, says something and dies with it: killed, of itself, or (3) in silence."""
        for _, count in zip(range(times), tokens, strict=False):
            self.step(self.claim(worker, room, room))
            parts = [(belief, "next", count) for belief in self.active(worker) if count]
            self.step(self.publish(parts))
            self.step(self.release(worker, how) if how < 3 else self.lapse(worker))
            self.forget(worker)

    @rule(numbers=st.lists(number, min_size=1, max_size=3), times=twice)
    def clients_cancel(self, numbers: list[int], times: int) -> None:
        self.step(*(self.cancel(self.ids(numbers)) for _ in range(times)))

    @rule(numbers=st.lists(number, min_size=1, max_size=4))
    def front_ends_watch(self, numbers: list[int]) -> None:
        self.step(self.watch(self.ids(numbers)))

    @precondition(lambda self: self.world.alive())
    @rule(at=number)
    def the_viewer_leaves(self, at: int) -> None:
        job = pick(self.living(), at)
        job.unwatched = True
        self.step(hands.leave_alone(self.bus, job))

    @precondition(lambda self: self.world.alive())
    @rule(at=number)
    def a_deadline_passes(self, at: int) -> None:
        job = pick(self.living(), at)
        job.late = True
        self.step(hands.make_late(self.bus, job))

    @precondition(lambda self: self.world.alive())
    @rule(at=number)
    def owners_were_killed_often(self, at: int) -> None:
        self.step(hands.kill_often(self.bus, pick(self.living(), at)))

    @precondition(lambda self: any(job.late for job in self.world.alive()))
    @rule(times=twice)
    def workers_tidy(self, times: int) -> None:
        self.step(*(self.tidy() for _ in range(times)))

    async def tidy(self) -> None:
        count = await self.bus.expire(MODEL)
        assert count == self.world.expire(), "expire ended other jobs than are late"
        self.seen("expire", "some" if count else "none")

    @precondition(lambda self: self.world.dead())
    @rule(at=number, verb=st.sampled_from(("redrive", "redrive", "drop")), times=twice)
    def an_operator_reads_a_dead_letter(self, at: int, verb: str, times: int) -> None:
        self.step(self.letter(pick(self.world.dead(), at), verb, times))

    @precondition(lambda self: self.world.alive() and len(self.readers) < 4)
    @rule(at=number)
    def a_reader_comes(self, at: int) -> None:
        job = pick(self.living(), at)

        async def read() -> None:
            self.readers.append(await Reader(self.bus, MODEL, job.id, at).open())

        self.step(read())

    @rule(worker=worker)
    def a_worker_leaves(self, worker: str) -> None:
        self.step(self.bus.leave(MODEL, worker))

    def teardown(self) -> None:
        try:
            if self.sound:
                self.ground.run(self.drain())
        finally:
            self.ground.run(self.close())


class RestartingMachine(Machine):
    """The same while Redis is killed and comes back with what was on disk; slow, so at most once in an example."""

    def __init__(self) -> None:
        super().__init__()
        self.restarted = False

    @precondition(lambda self: self.world.alive() and not self.restarted)
    @rule()
    def redis_is_killed_and_comes_back(self) -> None:
        self.restarted = True
        self.ground.restart()
        self.seen("redis", "restarted")
        self.step()
