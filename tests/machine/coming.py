"""The rules by which jobs come and workers get them: Hypothesis chooses which, and with whom."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from queuechat.protocol import Job as Request
from queuechat.protocol import choice_id
from tests.machine import hands
from tests.machine.acts import Acts
from tests.machine.checks import KEYS, MODEL
from tests.machine.ears import WORKERS
from tests.machine.hands import Belief
from tests.machine.model import Job
from tests.machine.standing import LONGEST
from tests.machine.taking import Call, pick

number = st.integers(0, 63)
worker = st.sampled_from(WORKERS)
twice = st.sampled_from((1, 1, 1, 2))
lane = st.sampled_from(("jobs", "jobs", "bulk"))
tenant = st.sampled_from(("", "", "ann", "Bob"))
zombie = st.sampled_from((False, False, True))
free = st.sampled_from((0, 1, 2, 3, 8))
deaf = st.lists(zombie, max_size=4)


class Coming(Acts):
    """Requests, claims, and claims that stand."""

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
            self.step(self.enqueue(self.call(1, lane)))

    @rule(
        choices=st.sampled_from((1, 1, 2)),
        lane=lane,
        limit=st.sampled_from((0, 0, 0, 1, 3)),
        key=st.sampled_from(("", KEYS[0], *KEYS)),
        body=st.sampled_from(("x", "x", "y")),
        times=twice,
        tenant=tenant,
        deaf=deaf,
    )
    def a_request_comes(
        self, choices: int, lane: str, limit: int, key: str, body: str, times: int, tenant: str, deaf: list[bool]
    ) -> None:
        call = self.call(choices, lane, tenant, limit=limit, key=key, body=body)
        self.step(*(self.enqueue(call, deaf) for _ in range(times)))

    def call(
        self,
        choices: int,
        lane: str,
        tenant: str = "",
        *,
        limit: int = 0,
        key: str = "",
        body: str = "",
        prompt: str = "hi",
    ) -> Call:
        request = f"j{len(self.calls)}"
        ids = [choice_id(request, k) for k in range(choices)]
        jobs = [Request(id, MODEL, prompt=prompt, lane=lane, tenant=tenant) for id in ids]  # type: ignore[arg-type]
        self.calls.append(Call(jobs, limit, key, body))
        return self.calls[-1]

    @rule(
        lane=lane,
        tenants=st.lists(tenant, min_size=3, max_size=7),
        rooms=st.lists(st.integers(1, 2), min_size=1, max_size=4),
        worker=worker,
    )
    def tenants_compete(self, lane: str, tenants: list[str], rooms: list[int], worker: str) -> None:
        """Each comes with a job, and some of the jobs are taken; then all who wait ask for their places."""
        for tenant in tenants:
            self.step(self.enqueue(self.call(1, lane, tenant)))
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
    @rule(worker=worker, room=st.integers(1, 4), bulk=st.integers(0, 4), free=free, lost=zombie, times=twice)
    def a_worker_claims(self, worker: str, room: int, bulk: int, free: int, lost: bool, times: int) -> None:
        self.step(*(self.claim(worker, room, bulk, lost=lost or k + 1 < times, free=free) for k in range(times)))

    @rule(worker=worker, room=st.integers(1, 3), lanes=st.tuples(lane, lane), suspect=st.booleans(), drained=zombie)
    def an_answer_is_lost(self, worker: str, room: int, lanes: tuple[str, str], suspect: bool, drained: bool) -> None:
        """A claim is made again after something else has come, or was handed back; what it gave may be a suspect."""
        for _ in range(2 * suspect):
            self.step(self.claim(worker, room, room, free=room), self.release(worker, 2))
        self.step(self.enqueue(self.call(1, lanes[0])))
        self.step(self.claim(worker, room, room, free=room + 1, lost=True))
        self.step(self.enqueue(self.call(1, lanes[1])))
        if drained:
            other = pick(WORKERS, WORKERS.index(worker) + 1)
            self.step(self.claim(other, 1, 1), self.release(other, 0))
        self.step(self.claim(worker, room, room))

    @rule(worker=worker, room=st.integers(1, 6), bulk=st.integers(0, 2), free=free, lost=zombie)
    def a_worker_asks_though_nothing_waits(self, worker: str, room: int, bulk: int, free: int, lost: bool) -> None:
        self.step(self.claim(worker, room, bulk, free=free, lost=lost))

    @rule(
        worker=worker,
        places=st.lists(st.integers(1, 9), min_size=1, max_size=3),
        tenants=st.lists(tenant, min_size=1, max_size=6),
        choices=st.sampled_from((1, 1, 2, 5)),
        deaf=deaf,
        again=st.booleans(),
    )
    def claims_are_left_standing(
        self, worker: str, places: list[int], tenants: list[str], choices: int, deaf: list[bool], again: bool
    ) -> None:
        """Of several workers, with more and less room, and what comes is granted; what they did not hear of they are
        told when they ask again."""
        workers = [pick(WORKERS, WORKERS.index(worker) + k) for k in range(len(places))]
        for one, free in zip(workers, places, strict=True):
            self.step(self.claim(one, 8, 8, free=free))
        for tenant in tenants:
            self.step(self.enqueue(self.call(choices, "jobs", tenant), deaf))
        for one in workers[: 3 * again]:
            self.step(self.claim(one, 2, 2, free=2))

    @rule(worker=worker, room=st.integers(1, 3), deaf=deaf, lane=lane, more=st.booleans())
    def an_answer_is_lost_that_said_that_it_stands(
        self, worker: str, room: int, deaf: list[bool], lane: str, more: bool
    ) -> None:
        """What comes meanwhile is granted to it, and told again; what comes later is not."""
        self.step(self.claim(worker, 8, 8), self.claim(worker, room, room, free=8, lost=True))
        self.step(self.enqueue(self.call(1, "jobs"), deaf))
        self.step(self.claim(worker, room, room, free=8, lost=more))
        self.step(self.enqueue(self.call(1, lane), deaf))
        self.step(self.claim(worker, room, room, free=8))

    @precondition(lambda self: self.world.standing)
    @rule(at=number, choices=st.sampled_from((1, 2)))
    def a_claim_has_stood_for_too_long(self, at: int, choices: int) -> None:
        nonce = pick([*self.world.standing], at)
        self.step(self.run_out(nonce))
        self.step(self.enqueue(self.call(choices, "jobs")))

    @precondition(lambda self: self.world.standing)
    @rule(at=number)
    def a_worker_is_gone_whose_claim_stands(self, at: int) -> None:
        worker = pick([*self.world.standing.values()], at).worker
        self.forget(worker)
        self.step(self.die(worker), self.enqueue(self.call(1, "jobs")))

    @precondition(lambda self: self.world.standing)
    @rule()
    def a_long_request_comes(self) -> None:
        self.step(self.enqueue(self.call(1, "jobs", prompt="x" * LONGEST)))
