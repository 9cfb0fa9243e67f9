"""Every transition of queuechat/functions in any order, on a real Redis, against the model.

A worker may die, stall and go on as a zombie; any answer may be lost and any call made twice; a reader may lose any
message. After each step Redis must hold exactly what the model says.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.machine import hands
from tests.machine.checks import MODEL
from tests.machine.coming import Coming, free, number, twice, worker, zombie
from tests.machine.ears import WORKERS
from tests.machine.hands import Belief
from tests.machine.reader import Reader
from tests.machine.taking import pick

kind = st.sampled_from(("next", "next", "next", "next", "again", "skip", "diverged"))
part = st.tuples(number, kind, st.sampled_from((1, 2, 3, 8, 12)))
reason = st.sampled_from(("stop", "stop", "length", "error", "cancelled", "deadline"))


class Machine(Coming):
    """All other rules."""

    @precondition(Coming.any_free)
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

    @precondition(Coming.any_owned)
    @rule(worker=worker, times=twice)
    def a_supervisor_renews(self, worker: str, times: int) -> None:
        self.step(*(self.renew(worker) for _ in range(times)))

    @precondition(Coming.any_owned)
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
            self.step(self.die(worker))
        self.step(self.lapse(worker))

    @precondition(Coming.any_free)
    @rule(
        worker=worker,
        how=st.sampled_from((1, 2, 2, 3)),
        times=st.integers(2, 5),
        room=st.integers(1, 3),
        free=free,
        tokens=st.lists(st.sampled_from((0, 0, 1, 9)), min_size=5, max_size=5),
    )
    def workers_die_one_after_another(
        self, worker: str, how: int, times: int, room: int, free: int, tokens: list[int]
    ) -> None:
        """Each takes what there is, says something and dies with it: killed, of itself, or (3) in silence."""
        for _, count in zip(range(times), tokens, strict=False):
            self.step(self.claim(worker, room, room, free=free))
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
