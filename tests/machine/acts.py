"""What a machine can do: each act asks Redis and the model, and compares what they say."""

from __future__ import annotations

from collections.abc import Sequence

from queuechat import keys, letters
from tests.machine import hands
from tests.machine.checks import MODEL, check, check_drained, same_as_log
from tests.machine.ears import WORKERS
from tests.machine.hands import Belief
from tests.machine.model import Job
from tests.machine.taking import Taking


class Acts(Taking):
    """All acts but those by which jobs come to workers."""

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

    async def die(self, worker: str) -> None:
        """Nobody listens for it any more, and nothing says so but its connection, which is gone."""
        self.world.deaf.add(worker)
        await self.ground.ears.go(worker)

    async def run_out(self, nonce: str) -> None:
        """A worker whose claim stands is not heard of for too long."""
        self.world.standing[nonce].over = True
        await hands.run_out(self.bus, nonce)

    async def cancel(self, ids: Sequence[str]) -> None:
        words = await self.bus.cancel(MODEL, ids)
        assert words == [self.world.cancel(id) for id in ids]
        self.seen("cancel", *words)

    async def watch(self, ids: Sequence[str]) -> None:
        left = [self.world.jobs[id] for id in ids if id in self.world.jobs and self.world.jobs[id].unwatched]
        sights = dict(zip(ids, await self.bus.watch(MODEL, ids), strict=True))
        found, foretold = [tuple(sight) for sight in sights.values()], self.world.watch([*sights])
        assert found == foretold, f"watch of {ids}: {found}, not {foretold}"
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
            await self.claim(worker, 0, 0)  # so that none stands any more
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
