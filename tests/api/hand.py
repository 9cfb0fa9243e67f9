"""A worker without an engine, led by hand: the test says what it writes and when, through the real bus."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from queuechat import keys
from queuechat.bus import Bus, Claim, Item, Verdict
from queuechat.errors import BusUnavailable
from queuechat.protocol import Chunk, End, Failure, Logprob, ModelCard, PrefixHash, Reason, WorkerCard


class Hand:
    """`async with Hand(bus, "m")` serves model "m": `claim` takes a job, `say` and `end` answer it."""

    def __init__(
        self,
        bus: Bus,
        model: str,
        *,
        aliases: Sequence[str] = (),
        embeds: bool = False,
        bulk: bool = False,
        **abilities: Any,
    ):
        """`bulk`: takes jobs of the bulk lane too; `abilities` are more fields of its model card."""
        self.bus, self.model = bus, model
        self.card = ModelCard(
            model,
            list(aliases),
            context_length=4096,
            engine="hand",
            embeds=embeds,
            created=int(time.time()),
            **abilities,
        )
        self._bulk = bulk  # whether it takes jobs of the bulk lane too
        self.name = f"hand-{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()  #: ids that somebody cancelled
        self._at: dict[str, int] = {}
        self._hashes: dict[str, PrefixHash] = {}

    async def __aenter__(self) -> Hand:
        await self.beat()
        listen = self.bus.listener.subscribe
        self._heard = [
            await listen(keys.wake(self.model), lambda _: self._wake.set(), self._wake.set),
            await listen(keys.control(self.name), self._told),
        ]
        self._tasks.append(asyncio.create_task(self._live()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for subscription in self._heard:
            await self.bus.listener.unsubscribe(subscription)
        await self.bus.connection.insist([("DEL", keys.worker_card(self.name))])

    async def beat(self) -> None:
        now = int(time.time() * 1000)
        worker = WorkerCard(self.name, self.model, engine="hand", state="ready", capacity=8)
        await self.bus.connection.insist(
            [
                ("SET", keys.model_card(self.model), self.card.encode()),
                ("ZADD", keys.MODELS, now, self.model),
                ("SET", keys.worker_card(self.name), worker.encode(), "PX", keys.WORKER_MS),
                ("ZADD", keys.WORKERS, now, self.name),
            ]
        )

    async def claim(self, count: int = 1) -> list[Claim]:
        """The next `count` jobs, waited for."""
        taken: list[Claim] = []
        while len(taken) < count:
            nonce = f"{self.name}/{next(self._numbers)}"
            self._wake.clear()
            room = count - len(taken)
            taken += await self.bus.claim(self.model, self.name, nonce, room=room, bulk_room=room if self._bulk else 0)
            if len(taken) < count:
                await self._wake.wait()
        return taken

    async def one(self) -> Claim:
        return (await self.claim())[0]

    async def say(
        self,
        claim: Claim,
        *texts: str,
        vector: str = "",
        logprobs: Sequence[Logprob] = (),
        prompt: Sequence[Logprob] = (),
    ) -> Verdict:
        """One chunk of one token for each text, with its logprob if there are any; the prompt's go with the first."""
        verdict = Verdict.OK
        for k, text in enumerate(texts):
            at = self._at.get(claim.job.id, 0)
            chunk = Chunk(at, 1, text, [at], vector, list(logprobs[k : k + 1]), list(prompt if k == 0 else ())).encode()
            hash = self._hashes.setdefault(claim.job.id, PrefixHash())
            before, after = hash.value, hash.update([at])
            verdict = (
                await self.bus.publish(self.model, [Item(claim.job.id, claim.nonce, at, 1, before, after, chunk)])
            )[0]
            self._at[claim.job.id] = at + 1
        return verdict

    async def end(
        self,
        claim: Claim,
        reason: Reason = Reason.STOP,
        *,
        text: str = "",
        error: Failure | None = None,
        stop: str = "",
        prompt: Sequence[Logprob] = (),
    ) -> None:
        end = End(reason, self._at.get(claim.job.id, 0), text, 7, error, stop=stop, prompt=list(prompt))
        await self.bus.finish(self.model, [(claim.job.id, claim.nonce, end)])

    async def tell(self, *texts: str, reason: Reason = Reason.STOP, tail: str = "", stop: str = "") -> Claim:
        """Take one job, say all, end it."""
        claim = await self.one()
        await self.say(claim, *texts)
        await self.end(claim, reason, text=tail, stop=stop)
        return claim

    def always(self, answer: Callable[[Hand, Claim], Awaitable[None]]) -> None:
        """Answer every job so, from now on."""

        async def serve() -> None:
            while True:
                await answer(self, await self.one())

        self._tasks.append(asyncio.create_task(serve()))

    def _told(self, raw: bytes) -> None:
        verb, _, id = raw.decode().partition(" ")
        if verb == "cancel":
            self.cancelled.put_nowait(id)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(keys.BEAT_S / 2)
            with contextlib.suppress(BusUnavailable):  # as a worker, it lives on while Redis is away
                await self.beat()
                await self.bus.renew(self.model, self.name)
