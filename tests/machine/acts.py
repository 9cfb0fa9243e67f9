"""What a machine can do: each act asks Redis and the model, and compares what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from queuechat import keys, letters
from queuechat.bus import Accepted, Claims, Repeated
from queuechat.errors import IdempotencyMismatch, InvalidRequest, QueueFull
from queuechat.protocol import Job as Request
from tests.machine import hands
from tests.machine.checks import MODEL, check, check_drained, same_as_log
from tests.machine.claims import Ask, Grant, judge
from tests.machine.ground import Ground
from tests.machine.hands import Belief
from tests.machine.model import Job, World
from tests.machine.reader import Reader

T = TypeVar("T")

WORKERS = ("w0", "w1", "w2")


@dataclass(frozen=True, slots=True)
class Call:
    """An enqueue, to be repeated."""

    jobs: list[Request]
    limit: int
    key: str
    body: str


def pick(things: Sequence[T], number: int) -> T:
    return things[number % len(things)]


class Acts(RuleBasedStateMachine):
    """The state of one example: model, what the workers believe, readers; and the acts."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.bus, self.world, self.faithful = self.ground.bus, World(), True
        self.calls: list[Call] = []
        self.beliefs: list[Belief] = []
        self.lost: dict[str, Ask] = {}  # worker: its claim whose answer was lost
        self.readers: list[Reader] = []
        self.settled: set[str] = set()
        self.nonces, self.sound = 0, True
        self.ground.command("FLUSHALL")

    def seen(self, verb: str, *answers: str) -> None:
        self.ground.seen.update(f"{verb} {answer}" for answer in answers)

    def active(self, worker: str) -> list[Belief]:
        return [belief for belief in self.beliefs if belief.active and belief.worker == worker]

    def forget(self, worker: str, ids: Sequence[str] = ()) -> None:
        """The worker runs them no more; what it has said of them may still arrive."""
        for belief in self.active(worker):
            belief.active = bool(ids) and belief.id not in ids
        if not ids:
            self.lost.pop(worker, None)

    async def enqueue(self, call: Call) -> None:
        ids, lane = [job.id for job in call.jobs], call.jobs[0].lane
        idem = (call.key, call.body) if call.key else None
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

    async def claim(
        self, worker: str, room: int, bulk: int, *, trusting: bool = True, lost: bool = False, lease_ms: int = 0
    ) -> Claims:
        """A claim as the worker makes it: none while it tries a suspect, the same again when the answer was lost."""
        if any(belief.trying for belief in self.active(worker)):
            return Claims()
        fresh = sum(not belief.proven for belief in self.active(worker))
        if worker in self.lost:
            ask = self.lost[worker]._replace(again=True, fresh=fresh, trusting=trusting)
        else:
            self.nonces += 1
            ask = Ask(worker, f"{worker}/{self.nonces}", room, bulk, False, fresh, trusting)
        claims = await self._ask_for_jobs(ask, lease_ms or (hands.SHORT_MS if trusting else hands.LONG_MS))
        if lost:
            self.lost[worker] = ask
            return Claims()
        self.lost.pop(worker, None)
        for claim in claims:
            self.forget(worker, [claim.job.id])
            self.beliefs.append(hands.believe(self.world.jobs[claim.job.id], worker, ask.nonce))
        return claims

    async def _ask_for_jobs(self, ask: Ask, lease_ms: int) -> Claims:
        """Only those whose owner the model takes to be silent have run out, however slow this machine is: Hypothesis
        makes an example more than once, and must find it the same."""
        if ask.trusting:
            living = [job for job in self.world.alive() if job.owner and not job.lapsed]
            await hands.refresh(self.bus, living)
        claims = await self.bus.claim(
            *(MODEL, ask.worker, ask.nonce),
            room=ask.room,
            bulk_room=ask.bulk_room,
            again=ask.again,
            lease_ms=lease_ms,
            fresh=ask.fresh,
        )
        grants = [Grant(one.job.id, one.epoch, one.offset, one.hash, one.crashes) for one in claims]
        touched = await hands.touched(self.bus, self.world, {grant.id for grant in grants})
        before = {id: self.world.jobs[id].owner for id in touched.ended}
        judge(self.world, ask, grants, claims.held_back, touched)
        self.seen("claim", *("let go" for _ in touched.let_go))
        self.seen("claim", *(["HELD"] if claims.held_back else []), *(["GO"] if claims else ["nothing"]))
        self.seen(
            "claim ended", *(f"{state} {'lapsed' if before[id] else 'free'}" for id, state in touched.ended.items())
        )
        for claim in claims:
            self.seen("claim granted", f"{'a suspect' if claim.suspect else 'a job'}{' again' if ask.again else ''}")
        return claims

    async def publish(self, parts: Sequence[tuple[Belief, str, int]]) -> None:
        if not parts:
            return
        items = [belief.item(kind, count, faithful=self.faithful) for belief, kind, count in parts]
        words = await self.bus.publish(MODEL, items)
        for (belief, kind, _), item, word in zip(parts, items, words, strict=True):
            ids = [belief.token(at, faithful=self.faithful) for at in range(item.first, item.first + item.tokens)]
            expected = self.world.publish(item.id, item.nonce, item.first, ids, item.before, item.after)
            assert word == expected, f"publish ({kind}): {word}, not {expected}"
            self.seen("publish", word)
            if word == "OK":
                belief.ids += ids
            belief.active = belief.active and word != "FENCED"

    async def finish(self, parts: Sequence[tuple[Belief, str, int]]) -> None:
        ends = [belief.end(reason, gap) for belief, reason, gap in parts]
        words = await self.bus.finish(MODEL, ends)
        for (belief, reason, _), (id, nonce, end), word in zip(parts, ends, words, strict=True):
            expected = self.world.finish(id, nonce, end.offset, reason)
            assert word == expected, f"finish: {word}, not {expected}"
            self.seen("finish", word)
            belief.active = belief.active and word == "GAP"

    async def renew(self, worker: str) -> None:
        told = {id: str(word) for id, word in (await self.bus.renew(MODEL, worker)).items()}
        assert told == self.world.renew(worker)
        assert not await hands.silent(self.bus) & set(told), "what was renewed is still over its lease"
        self.seen("renew", *told.values())

    async def release(self, worker: str, how: int, ids: Sequence[str] = ()) -> None:
        dead = len(self.world.dead())
        count = await self.bus.release(MODEL, worker, ids, crashed=how > 0, by_itself=how == 2)
        assert count == self.world.release(worker, how, ids), "release handed back other jobs than were owned"
        self.seen("release", f"{how} {'some' if count else 'none'}{' dead' if len(self.world.dead()) > dead else ''}")
        self.forget(worker, ids)

    async def lapse(self, worker: str) -> None:
        """Nothing is heard of a worker for a lease."""
        jobs = self.world.owned(worker)
        await hands.refresh(self.bus, jobs, hands.LAPSED_MS)
        for job in jobs:
            job.lapsed = True

    async def cancel(self, ids: Sequence[str]) -> None:
        words = await self.bus.cancel(MODEL, ids)
        assert words == [self.world.cancel(id) for id in ids]
        self.seen("cancel", *words)

    async def watch(self, ids: Sequence[str]) -> None:
        left = [self.world.jobs[id] for id in ids if id in self.world.jobs and self.world.jobs[id].unwatched]
        sights = dict(zip(ids, await self.bus.watch(MODEL, ids), strict=True))
        assert [tuple(sight) for sight in sights.values()] == [self.world.watch(id) for id in sights]
        self.seen("watch", *(sight.state for sight in sights.values()))
        for job in left:
            if job.alive:
                await hands.watch_again(self.bus, job)
        for reader in self.readers:
            if reader.id in sights:
                reader.sight(sights[reader.id])

    async def letter(self, job: Job, verb: str, times: int) -> None:
        """Redrive or drop a dead letter."""
        found = [one for one in await letters.list_letters(self.bus, [MODEL]) if one.id == job.id]
        assert len(found) == 1, "not exactly one letter of a dead job"
        self.settled.discard(job.id)
        if verb == "drop":
            for reader in [reader for reader in self.readers if reader.id == job.id]:
                self.readers.remove(reader)
                await reader.close()
        for _ in range(times):
            if verb == "drop":
                assert await letters.drop(self.bus, found) == self.world.drop(job.id)
            else:
                assert await letters.redrive(self.bus, found) == [self.world.redrive(job.id)]
            self.seen(verb, job.state)

    async def compare(self) -> None:
        await check(self.bus, self.world, self.settled)

    async def drain(self) -> None:
        """All that is alive is answered by new workers; then nothing is left, and the readers have the logs."""
        await hands.wind(self.bus)
        for worker in WORKERS:
            await self.lapse(worker)
        rounds = 0
        while self.world.alive():
            rounds += 1
            assert rounds < 100, "jobs are left that nobody gets"
            for claim in await self.claim(f"last{rounds}", 8, 8):
                belief = next(one for one in reversed(self.beliefs) if one.id == claim.job.id)
                await self.publish([(belief, "next", 2)])
                if self.world.jobs[claim.job.id].alive:
                    await self.finish([(belief, "stop", 0)])
        await check_drained(self.bus, self.world)
        if self.readers:
            await self.watch(sorted({reader.id for reader in self.readers}))
        for reader in self.readers:
            same_as_log(self.world.jobs[reader.id], await reader.ended())
        self.seen("readers", *("read to the end" for _ in self.readers))
        self.readers.clear()
        for worker in WORKERS:
            await self.bus.leave(MODEL, worker)
        assert await self.bus.connection.command("PTTL", keys.depth(MODEL)) > 0

    async def close(self) -> None:
        for reader in self.readers:
            await reader.close()
