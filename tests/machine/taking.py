"""How jobs come, and how workers get them: by asking for them, or unasked while a claim stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from unittest.mock import patch

from hypothesis.stateful import RuleBasedStateMachine

from queuechat import keys
from queuechat.bus import Accepted, Claims, Repeated, Stand
from queuechat.errors import IdempotencyMismatch, InvalidRequest, QueueFull
from queuechat.protocol import Job as Request
from tests.machine import hands
from tests.machine.checks import MODEL
from tests.machine.claims import Ask, Grant, judge
from tests.machine.ground import Ground
from tests.machine.hands import Belief
from tests.machine.model import World
from tests.machine.reader import Reader
from tests.machine.standing import Told, judge_grants, judge_messages

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """An enqueue, to be repeated."""

    jobs: list[Request]
    limit: int
    key: str
    body: str


@dataclass(slots=True)
class Stood:
    """A claim that, for all that its worker knows, stands."""

    nonce: str
    heard: int = 0


def pick(things: Sequence[T], number: int) -> T:
    return things[number % len(things)]


class Taking(RuleBasedStateMachine):
    """The state of one example: model, what the workers believe, readers; and how jobs come to workers."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.bus, self.world, self.faithful = self.ground.bus, World(), True
        self.calls: list[Call] = []
        self.beliefs: list[Belief] = []
        self.lost: dict[str, Ask] = {}  # worker: its claim whose answer was lost
        self.stood: dict[str, Stood] = {}  # by worker
        self.born: dict[str, int] = {}  # worker: the number of the last nonce of its life before
        self.readers: list[Reader] = []
        self.settled: set[str] = set()
        self.nonces, self.sound = 0, True
        self.ground.command("FLUSHALL")
        self.ground.run(self.ground.ears.begin())

    def seen(self, verb: str, *answers: str) -> None:
        self.ground.seen.update(f"{verb} {answer}" for answer in answers)

    def active(self, worker: str) -> list[Belief]:
        return [belief for belief in self.beliefs if belief.active and belief.worker == worker]

    def forget(self, worker: str, ids: Sequence[str] = ()) -> None:
        """The worker runs them no more; what it has said of them may still arrive."""
        for belief in self.active(worker):
            belief.active = bool(ids) and belief.id not in ids
        if not ids:
            self.born[worker] = self.nonces
            self.lost.pop(worker, None)
            self.stood.pop(worker, None)

    async def enqueue(self, call: Call, deaf: Sequence[bool] = ()) -> None:
        """It comes, and may be granted to claims that stand; those of the grants that are `deaf` nobody hears of."""
        ids, lane = [job.id for job in call.jobs], call.jobs[0].lane
        idem = (call.key, call.body) if call.key else None
        new = [job for job in call.jobs if job.id not in self.world.jobs]
        await self.ground.ears.heard()  # and forget
        try:
            got = await self.bus.enqueue(call.jobs, limit=call.limit, grace_s=hands.LONG_MS / 1000, idem=idem)
        except IdempotencyMismatch:
            answer = "MISMATCH"
        except (QueueFull, InvalidRequest):  # the latter when they are more than may ever wait
            answer = "FULL"
        else:
            answer = f"DUP {got.id}" if isinstance(got, Repeated) else "OK" if got == Accepted() else str(got)
        foretold = self.world.enqueue(ids, lane, call.limit, call.key, call.body, call.jobs[0].tenant)
        assert answer == foretold, f"enqueue of {ids}: {answer}, not {foretold}"
        self.seen("enqueue", answer.partition(" ")[0])
        await self._grants(new if answer == "OK" else [], deaf)

    async def _grants(self, new: Sequence[Request], deaf: Sequence[bool]) -> None:
        told = list[Told]()
        if new:
            owners = await hands.owners(self.bus, [job.id for job in new])
            told = judge_grants(self.world, new, owners, await hands.standing(self.bus))
        judge_messages(told, new, await self.ground.ears.heard())
        for number, grant in enumerate(told):
            self._hear(grant, deaf=number < len(deaf) and deaf[number])

    def _hear(self, grant: Told, *, deaf: bool) -> None:
        """A worker knows the claim that stood when it last got an answer, and the one that it is about to ask again."""
        before = self.stood.get(grant.worker)
        known = {before.nonce if before else "", self.lost[grant.worker].nonce if grant.worker in self.lost else ""}
        if grant.nonce not in known:
            self.seen("grant", "to a claim of the dead")
            return
        assert not any(belief.trying for belief in self.active(grant.worker)), "granted beside a suspect"
        self.seen(
            "grant", "lost" if deaf else "heard", *(["to one of several"] if len(self.world.standing) > 1 else [])
        )
        if deaf:
            return
        if before and before.nonce == grant.nonce:
            before.heard += 1
        self.beliefs.append(hands.believe(self.world.jobs[grant.id], grant.worker, grant.nonce))

    async def claim(
        self,
        worker: str,
        room: int,
        bulk: int,
        *,
        trusting: bool = True,
        lost: bool = False,
        lease_ms: int = 0,
        free: int = 0,
    ) -> Claims:
        """A claim as the worker makes it: none while it tries a suspect, the same again when the answer was lost. With
        `free` places it is left standing."""
        if any(belief.trying for belief in self.active(worker)):
            return Claims()
        await self._come_back(worker)
        fresh = sum(not belief.proven for belief in self.active(worker))
        before = self.stood.get(worker, Stood(""))
        if worker in self.lost:
            ask = self.lost[worker]._replace(again=True, fresh=fresh, trusting=trusting, heard=before.heard)
        else:
            self.nonces += 1
            nonce = f"{worker}/{self.nonces}"
            ask = Ask(worker, nonce, room, bulk, False, fresh, trusting, free, before.nonce, before.heard)
        claims = await self._ask_for_jobs(ask, lease_ms or (hands.SHORT_MS if trusting else hands.LONG_MS))
        if lost:
            self.lost[worker] = ask
            return Claims()
        self._answered(ask, claims)
        return claims

    async def _come_back(self, worker: str) -> None:
        """A worker of which nobody knew any more is started again."""
        if worker in self.world.deaf:
            self.world.deaf.discard(worker)
            await self.ground.ears.listen(worker)

    def _answered(self, ask: Ask, claims: Claims) -> None:
        """What the worker makes of an answer; some of it may be no news."""
        self.lost.pop(ask.worker, None)
        self.stood.pop(ask.worker, None)
        if claims.stands:
            self.stood[ask.worker] = Stood(ask.nonce)
        known = {(belief.id, belief.nonce, belief.epoch) for belief in self.beliefs}
        for claim in claims:
            if (claim.job.id, claim.nonce, claim.epoch) not in known:
                self.forget(ask.worker, [claim.job.id])
                self.beliefs.append(hands.believe(self.world.jobs[claim.job.id], ask.worker, claim.nonce))
        self._holds_all(ask.worker)

    def _holds_all(self, worker: str) -> None:
        """Whoever has got an answer knows of all that it owns: a worker that misses something then has lost it."""
        known = {(belief.id, belief.nonce) for belief in self.active(worker)}
        for job in self.world.owned(worker):
            if int(job.owner.partition("/")[2]) > self.born.get(worker, 0):
                assert (job.id, job.owner) in known, "a worker owns a job of which it was never told"

    async def _ask_for_jobs(self, ask: Ask, lease_ms: int) -> Claims:
        """Only those whose owner the model takes to be silent have run out, however slow this machine is: Hypothesis
        makes an example more than once, and must find it the same."""
        if ask.trusting:
            living = [job for job in self.world.alive() if job.owner and not job.lapsed]
            await hands.refresh(self.bus, living)
        with patch.object(keys, "STANDING_MS", hands.HOUR):  # nothing is over because this machine is slow
            claims = await self.bus.claim(
                *(MODEL, ask.worker, ask.nonce),
                room=ask.room,
                bulk_room=ask.bulk_room,
                again=ask.again,
                lease_ms=lease_ms,
                fresh=ask.fresh,
                stand=Stand(ask.free, ask.stood, ask.heard),
            )
        await self._judge(ask, claims)
        return claims

    async def _judge(self, ask: Ask, claims: Claims) -> None:
        grants = [Grant(one.job.id, one.nonce, one.epoch, one.offset, one.hash, one.crashes) for one in claims]
        touched = await hands.touched(self.bus, self.world, {grant.id for grant in grants})
        before = {id: self.world.jobs[id].owner for id in touched.ended}
        stands = judge(self.world, ask, grants, claims.held_back, touched)
        assert claims.stands == stands, f"a claim stands: {claims.stands}, not {stands}"
        self.seen(
            "claim",
            *(["STANDS"] if stands else []),
            *(["told again"] if ask.stood in {g.nonce for g in grants} else []),
        )
        self.seen("claim", *("let go" for _ in touched.let_go))
        self.seen("claim", *(["HELD"] if claims.held_back else []), *(["GO"] if claims else ["nothing"]))
        self.seen(
            "claim ended", *(f"{state} {'lapsed' if before[id] else 'free'}" for id, state in touched.ended.items())
        )
        for claim in claims:
            self.seen("claim granted", f"{'a suspect' if claim.suspect else 'a job'}{' again' if ask.again else ''}")
