"""A worker without an engine: it writes down prepared answers, word by word, through the real bus."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from queuechat import keys
from queuechat.bus import Bus, Claim, Item, Verdict
from queuechat.protocol import Chunk, End, Failure, Job, ModelCard, PrefixHash, Reason, WorkerCard

log = logging.getLogger(__name__)

Script = Callable[[Job], str | Failure]


def echo(job: Job) -> str:
    """The default script: the last message again, with a word in front."""
    assert job.messages
    return f"You said: {job.messages[-1]['content']}"


def _hash(count: int) -> str:
    """Of the first `count` words: their ids are their places."""
    return PrefixHash().update(range(count)) if count else ""


class Scribe:
    """`async with Scribe(bus, "m")` serves model "m" until it is left."""

    def __init__(self, bus: Bus, model: str, *, script: Script = echo, rate: float = 0.0, room: int = 8, **card: Any):
        """`card` is what the model's card says beside its name."""
        self.bus, self.model, self.script, self.rate, self.room = bus, model, script, rate, room
        self.card = ModelCard(model, context_length=4096, engine="scribe", **card)
        self.worker = f"scribe-{secrets.token_hex(4)}"
        self.jobs: list[Job] = []
        self.gate = asyncio.Event()  #: while clear, jobs wait
        self.gate.set()
        self.pen = asyncio.Event()  #: while clear, answers pause where they are
        self.pen.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Scribe:
        await self._beat()
        for part in (self._live(), self._claim_all()):
            self._start(part)
        return self

    async def __aexit__(self, *_: object) -> None:
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=0.5)
        await self.bus.release(self.model, self.worker, crashed=False)
        await self.bus.connection.insist([("DEL", keys.worker_card(self.worker))])

    def _start(self, part: object) -> None:
        task = asyncio.ensure_future(part)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("the scribe has dropped its pen", exc_info=error)

    async def _beat(self) -> None:
        now = int(time.time() * 1000)
        worker = WorkerCard(self.worker, self.model, engine="scribe", state="ready", capacity=self.room)
        commands = [
            ("SET", keys.model_card(self.model), self.card.encode()),
            ("ZADD", keys.MODELS, now, self.model),
            ("SET", keys.worker_card(self.worker), worker.encode(), "PX", keys.WORKER_MS),
            ("ZADD", keys.WORKERS, now, self.worker),
        ]
        await self.bus.connection.insist(commands)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(keys.BEAT_S / 2)
            await self._beat()
            await self.bus.renew(self.model, self.worker)

    async def _claim_all(self) -> None:
        number = 0
        while True:
            await self.gate.wait()
            room = self.room - (len(self._tasks) - 2)
            number += 1
            claims = await self.bus.claim(self.model, self.worker, f"{self.worker}/{number}", room=max(room, 0))
            for claim in claims:
                self.jobs.append(claim.job)
                self._start(self._answer(claim))
            await asyncio.sleep(0.02)

    async def _answer(self, claim: Claim) -> None:
        said = self.script(claim.job)
        if isinstance(said, Failure):
            return await self._finish(claim, End(Reason.ERROR, error=said))
        words = re.findall(r"\s*\S+", said)
        limit, began = claim.job.max_tokens or len(words), time.monotonic()
        for at, word in list(enumerate(words[:limit]))[claim.offset :]:
            if self.rate:  # by the clock, so that what it costs to write does not slow it down
                await asyncio.sleep(max(began + (at + 1 - claim.offset) / self.rate - time.monotonic(), 0))
            verdict = await self._write(claim, at, word)
            if verdict not in (Verdict.OK, Verdict.DUP):
                reason = Reason.DEADLINE if verdict is Verdict.DEADLINE else Reason.CANCELLED
                return await self._finish(claim, End(reason, offset=at, prompt_tokens=7))
        reason = Reason.LENGTH if limit < len(words) else Reason.STOP
        return await self._finish(claim, End(reason, offset=min(limit, len(words)), prompt_tokens=7))

    async def _write(self, claim: Claim, at: int, word: str) -> Verdict:
        while not self.pen.is_set():
            # A paused pen still learns that nobody wants the answer any more.
            verdicts = await self.bus.renew(self.model, self.worker)
            if (verdict := verdicts.get(claim.job.id)) is not Verdict.OK:
                return verdict or Verdict.CANCEL
            await asyncio.sleep(0.02)
        chunk = Chunk(at, 1, word, [at]).encode()
        before, after = _hash(at), _hash(at + 1)
        item = Item(claim.job.id, claim.nonce, at, 1, before, after, chunk)
        return (await self.bus.publish(self.model, [item]))[0]

    async def _finish(self, claim: Claim, end: End) -> None:
        await self.bus.finish(self.model, [(claim.job.id, claim.nonce, end)])
