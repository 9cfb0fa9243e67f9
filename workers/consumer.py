"""The worker's sentence: claim what fits, let the engine run, publish what its steps made, finish.

One publish is in flight at a time and the engine never waits for it: what its steps yield meanwhile is joined, so
chunks grow only under load. Everything said to Redis may be said twice; the nonce of the claim fences it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from queuechat import keys
from queuechat.bus import Bus, Claim, Item, Verdict
from queuechat.errors import EngineDied, QueuechatError
from queuechat.failpoints import failpoint
from queuechat.protocol import End, Reason
from workers.beside import MAX_READINGS, Beside
from workers.claiming import Claimer
from workers.engines.base import Engine, Step, Tokens
from workers.intake import Held, Intake
from workers.outbox import Outbox
from workers.places import Places
from workers.prompting import Speech
from workers.pulling import Puller
from workers.running import Generation

log = logging.getLogger(__name__)

_UNWANTED = {Verdict.CANCEL: Reason.CANCELLED, Verdict.DEADLINE: Reason.DEADLINE}


class Consumer:
    """One engine's link to its model's queue. `run` returns after a drain; it raises EngineDied with its engine."""

    def __init__(
        self,
        bus: Bus,
        engine: Engine,
        speech: Speech,
        *,
        model: str,
        worker: str,
        life: str = "0",
        places: Places | None = None,
    ):
        self.bus, self.engine, self.speech, self.model, self.worker = bus, engine, speech, model, worker
        self.held: dict[str, Held] = {}
        self._sequences: dict[str, Generation] = {}  # by engine id, until the engine's last word
        self._intake = Intake(bus, speech, engine.caps, model)
        self.steps = 0
        self.tokens = 0
        self._outbox = Outbox()
        self._places = places or Places(engine.caps.max_running)
        self._puller = Puller(
            Claimer(bus, model, worker, life), engine, self._places, self.held, self._take, self._outbox.wake
        )
        self._beside = Beside(engine, speech, self._progressed, self._scored, self._died)
        self._death: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def working(self) -> int:
        """What is with the engine, or on its way to it: as long as there is some, steps must be made. What only waits
        for Redis is none of it."""
        return len(self._sequences) + len(self._beside) + self._intake.busy

    async def run(self) -> None:
        """Pull and answer until drained."""
        await self.bus.listener.subscribe(keys.wake(self.model), self._puller.woken, self._puller.woken)
        await self.bus.listener.subscribe(keys.control(self.worker), self._told)
        await self.bus.listener.subscribe(keys.grants(self.worker), self._puller.granted)
        tasks = [
            asyncio.create_task(part, name=name)
            for name, part in (
                ("claim", self._puller.ask()),
                ("grant", self._puller.receive()),
                ("steps", self._step_loop()),
                ("publish", self._publish_loop()),
                ("clock", self._clock_loop()),
            )
        ]
        try:
            done, _ = await asyncio.wait((*tasks, self._death), return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, self._beside.close(), return_exceptions=True)

    def drain(self) -> None:
        """Take nothing new; `run` returns when what is held has ended."""
        failpoint("drain.child")
        self._puller.drain()

    def cancel(self, id: str, reason: Reason = Reason.CANCELLED) -> None:
        """Stop one job soon. Harmless for one that is not held."""
        held = self.held.get(id)
        if held and held.verdict is None:
            held.verdict = reason
            if isinstance(held, Generation):
                self.engine.abort(held.prompt.id)
            else:
                held.finished()
                self._mark(held)

    def renewed(self, owned: Mapping[str, Verdict]) -> None:
        """What Redis says of all that this worker owns, each time when that was renewed."""
        for id, verdict in owned.items():
            if reason := _UNWANTED.get(verdict):
                self.cancel(id, reason)
        self._puller.renewed(owned)

    # -- intake ---------------------------------------------------------------------------------------------------

    async def _take(self, claim: Claim) -> None:
        held = await self._intake.take(claim)
        if lapsed := self.held.get(claim.job.id):
            self._forget(lapsed)
        self.held[claim.job.id] = held
        if isinstance(held, Generation) and not held.unscored:
            if not held.over:
                self._admit(held)
        elif isinstance(held, Generation) or not held.over:
            self._beside.begin(held)
        self._mark(held)

    def _scored(self, held: Generation) -> None:
        if held.verdict:
            held.finished(held.verdict)
        if self._holds(held) and not held.over:
            self._admit(held)

    def _admit(self, held: Generation) -> None:
        failpoint("admit.before", held.claim.job)
        self._sequences[held.prompt.id] = held
        try:
            self.engine.admit(held.prompt)
        except EngineDied:
            raise
        except QueuechatError as error:
            del self._sequences[held.prompt.id]
            held.fail(error, len(held.prompt.prompt_ids))
        failpoint("admit.after", held.claim.job)

    # -- engine ----------------------------------------------------------------------------------------------------

    async def _step_loop(self) -> None:
        async for step in self.engine.steps():
            self.steps += 1
            failpoint("step.after")
            self._absorb(step)
        raise EngineDied("the engine stopped stepping")

    def _absorb(self, step: Step) -> None:
        for event in step:
            held = self._sequences.get(event.id)
            if held is None:
                continue
            if isinstance(event, Tokens):
                self.tokens += len(event.ids)
                held.add(event.ids, event.logprobs)
            else:
                del self._sequences[event.id]
                held.ended(event)
            self._mark(held)

    def _progressed(self, held: Held) -> None:
        self.steps += 1
        self._outbox.mark(held)

    def _died(self, error: EngineDied) -> None:
        if not self._death.done():
            self._death.set_exception(error)

    def _mark(self, held: Held) -> None:
        self._outbox.mark(held)

    # -- publish ---------------------------------------------------------------------------------------------------

    async def _publish_loop(self) -> None:
        while not (self._puller.drained and not self.held):
            due = await self._outbox.take()
            said = [(held, item) for held in due for item in iter(held.flush, None)]
            if said:
                await self._publish(said)
            ends = [(held, end) for held in due if self._holds(held) and (end := held.end())]
            if ends:
                await self._finish(ends)

    def _holds(self, held: Held) -> bool:
        return self.held.get(held.claim.job.id) is held

    async def _publish(self, said: list[tuple[Held, Item]]) -> None:
        failpoint("publish.before")
        verdicts = await self.bus.publish(self.model, [item for _, item in said])
        failpoint("publish.after")
        stopped: set[Held] = set()  # what it said after the item that was refused leaves a gap, rightly
        for (held, item), verdict in zip(said, verdicts, strict=True):
            if verdict in (Verdict.OK, Verdict.DUP) or not self._holds(held) or held in stopped:
                if self._places.held_back and held.proven:
                    self._places.wake()
                continue
            if verdict in _UNWANTED:
                stopped.add(held)
                self._stop(held, _UNWANTED[verdict], item.first)
            elif verdict is Verdict.FENCED or not await self._replayed(held):
                await self._let_go(held, verdict)

    def _stop(self, held: Held, reason: Reason, offset: int) -> None:
        held.stop(reason, offset)
        if isinstance(held, Generation):
            self.engine.abort(held.prompt.id)
        self._mark(held)

    async def _replayed(self, held: Held) -> bool:
        """Redis has lost the tail of the log: say again what this owner has said of late."""
        verdicts = await self.bus.publish(self.model, held.replay())
        return all(verdict in (Verdict.OK, Verdict.DUP) for verdict in verdicts)

    async def _finish(self, ends: list[tuple[Held, End]]) -> None:
        failpoint("finish.before")
        verdicts = await self.bus.finish(self.model, [(held.claim.job.id, held.claim.nonce, end) for held, end in ends])
        failpoint("finish.after")
        for (held, end), verdict in zip(ends, verdicts, strict=True):
            if verdict is Verdict.GAP and not held.said_again and await self._replayed(held):
                held.said_again = True
                self._mark(held)
            elif verdict is Verdict.GAP:
                await self._let_go(held, verdict)
            else:
                self._forget(held)
                log.debug("%s ended: %s after %d", held.claim.job.id, end.reason, end.offset)

    async def _let_go(self, held: Held, verdict: Verdict) -> None:
        """It is somebody else's, or Redis has another past than we do: whoever claims it next reads what there is."""
        id = held.claim.job.id
        log.info("%s is let go: %s", id, verdict)
        self._forget(held)
        if verdict is not Verdict.FENCED:
            await self.bus.release(self.model, self.worker, [id], crashed=False)

    def _forget(self, held: Held) -> None:
        self._places.leaving()
        if self._puller.readings >= MAX_READINGS:
            self._puller.woken()
        if self._holds(held):
            del self.held[held.claim.job.id]
        if isinstance(held, Generation) and held.prompt.id in self._sequences:
            self.engine.abort(held.prompt.id)
        elif not isinstance(held, Generation):
            held.finished()  # what is left of it would be made for nobody
        self._outbox.wake()

    # -- from outside ----------------------------------------------------------------------------------------------

    def _told(self, message: bytes) -> None:
        word, _, id = message.decode().partition(" ")
        if word == "cancel":
            self.cancel(id)

    async def _clock_loop(self) -> None:
        while True:
            await asyncio.sleep(keys.BEAT_S)
            now = time.monotonic()
            for held in list(self.held.values()):
                if now > held.late_at:
                    self.cancel(held.claim.job.id, Reason.DEADLINE)
