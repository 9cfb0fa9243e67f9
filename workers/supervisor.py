"""The parent on a GPU host. It never imports torch, so it breathes while native code holds the child's GIL.

It keeps the child's leases for as long as the child's step counter moves, tells the world that the worker lives, and
when the child dies hands its jobs back at once, then starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import socket
import time
from dataclasses import replace
from typing import Literal

import orjson

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import Misconfigured, QueuechatError
from queuechat.failpoints import failpoint
from queuechat.protocol import WorkerCard
from workers.introducing import model_card
from workers.models import Spec
from workers.process import EX_CONFIG, EX_ENGINE, EngineProcess, Speed

log = logging.getLogger(__name__)

_SILENT_S = 10.0  # a child from which nothing is heard loses its leases; it is fenced should it come back

State = Literal["loading", "ready", "draining", "restarting"]


class Supervisor:
    """One worker: one model on one device. `run` returns when it was told to stop and has handed everything back."""

    def __init__(self, spec: Spec, bus: Bus, *, drain_s: float, hang_s: float):
        self._spec = replace(spec, worker=spec.worker or worker_id(spec.model))
        self._bus = bus
        self._drain_s, self._hang_s = drain_s, hang_s
        self._state: State = "loading"
        self._child: EngineProcess | None = None
        self._restarts = 0
        self._served = False
        self._life = "0"
        self._started = int(time.time() * 1000)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._news = asyncio.Event()  # the card has changed: say so now
        self._speed = Speed()

    @property
    def worker(self) -> str:
        return self._spec.worker

    @property
    def _owner(self) -> str:
        """Who owns what the child has claimed: what an earlier one claimed with its last breath is not kept alive."""
        return f"{self.worker}/{self._life}"

    def stop(self) -> None:
        """First call: drain. Second call: stop now."""
        if self._stop.is_set():
            log.info("stopping now")
            self._hurry.set()
            if self._child:
                self._child.kill()
        self._stop.set()

    async def run(self) -> None:
        """Serve until stopped.

        Raises:
            Misconfigured: the child says that starting it again would not help.
        """
        await self._bus.listener.subscribe(keys.control(self.worker), self._told)
        beat = asyncio.create_task(self._beat_loop(), name="beat")
        try:
            await self._keep_a_child()
        finally:
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat
            await self._goodbye()

    # -- the child -------------------------------------------------------------------------------------------------

    async def _keep_a_child(self) -> None:
        pause = 0.1
        while not self._stop.is_set():
            born = time.monotonic()
            code = await self._live()
            if self._stop.is_set():
                return
            self._served = self._served or (self._child is not None and self._child.status.ready)
            if code == EX_CONFIG and not self._served:  # what has worked before may work again: memory that others hold
                raise Misconfigured(f"the engine of {self._spec.model!r} cannot start; its log above says why")
            self._restarts += 1
            self._state = "restarting"
            pause = 0.1 if self._blameless(code) or time.monotonic() - born > 60 else min(pause * 2, 30)
            log.warning("the engine child died (exit code %d); another one starts in %.1f s", code, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()

    def _blameless(self, code: int) -> bool:
        """Whether another child has a good chance: the last one worked, or was killed by somebody."""
        child = self._child
        return child is not None and (child.status.steps > 0 or not child.died_by_itself(code))

    async def _live(self) -> int:
        """One child from its birth to its end, its jobs handed back; answers its exit code."""
        self._child, self._life = None, str(self._restarts)
        try:
            child = await EngineProcess.spawn(replace(self._spec, life=self._life))
        except OSError as error:
            log.error("no engine child can be started now: %s", error)
            return EX_ENGINE
        self._child = child
        failpoint("spawn.after")
        dead = asyncio.create_task(child.wait(), name="child")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        watched = asyncio.create_task(self._watch(child), name="watchdog")
        await asyncio.wait((dead, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not dead.done():
            await self._drain(child, dead)
        code = await dead
        for task in (stopped, watched):
            task.cancel()
        crashed = code != 0 and not self._stop.is_set()
        handed = await self._release(crashed=crashed, by_itself=child.died_by_itself(code))
        if handed:
            log.info("%d unfinished jobs handed back", handed)
        return code

    async def _drain(self, child: EngineProcess, dead: asyncio.Task[int]) -> None:
        failpoint("drain.supervisor")
        self._state = "draining"
        self._news.set()
        log.info("draining: no new jobs; what runs has %.0f s", self._drain_s)
        child.tell("drain")
        if not child.status.ready:
            child.kill()
        await asyncio.wait((dead,), timeout=self._drain_s)
        child.kill()

    async def _release(self, *, crashed: bool, by_itself: bool) -> int:
        """Insist on it, unless we are to stop: then the leases run out by themselves, a little later."""
        give_up = time.monotonic() + 2 * keys.LEASE_MS / 1000
        failpoint("release.before")
        while True:
            try:
                handed = 0
                for model in self._spec.names:
                    handed += await self._bus.release(model, self._owner, crashed=crashed, by_itself=by_itself)
                failpoint("release.after")
                return handed
            except QueuechatError as error:
                log.warning("cannot hand jobs back yet: %s", error)
                if self._hurry.is_set() or (self._stop.is_set() and time.monotonic() > give_up):
                    return 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._hurry.wait()

    async def _watch(self, child: EngineProcess) -> None:
        """A child that has work and makes no step, or says nothing, is as good as dead."""
        try:
            await self._until_hung(child)
            log.error("no engine step for %.0f s: the child is replaced", self._hang_s)
            child.hung = True
        except Exception:
            log.exception("nobody watches the child any more: it is replaced")
        child.kill()

    async def _until_hung(self, child: EngineProcess) -> None:
        while max(child.stalled_s(), child.silent_s()) < self._hang_s:
            if child.status.ready and self._state in ("loading", "restarting"):
                self._state = "ready"
                log.info("%s serves %s on %s", self.worker, self._spec.model, child.status.device)
                self._news.set()
            await asyncio.sleep(0.05 if self._state != "ready" else 1)
            failpoint("watchdog.before", self._state)

    # -- the beat --------------------------------------------------------------------------------------------------

    async def _beat_loop(self) -> None:
        while True:
            self._news.clear()
            # Leases first and by themselves: they must hold when nothing else can be written.
            for part in (self._keep_leases, self._announce):
                try:
                    await part()
                except QueuechatError as error:
                    log.warning("no beat: %s", error)
                except Exception:  # the next one may work; without any the leases would run out in silence
                    log.exception("no beat")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(keys.BEAT_S):
                    await self._news.wait()

    async def _keep_leases(self) -> None:
        child = self._child
        failpoint("renew.before")
        if child and child.stalled_s() < self._hang_s and child.silent_s() < _SILENT_S:
            for model in self._spec.names:
                owned = await self._bus.renew(model, self._owner)
                child.tell(f"renewed {orjson.dumps([model, owned]).decode()}")
        failpoint("renew.after")
        for model in self._spec.names:
            await self._bus.expire(model)

    async def _announce(self) -> None:
        failpoint("announce.before")
        spec, child = self._spec, self._child
        now, card = int(time.time() * 1000), self.card()
        commands: list[tuple[object, ...]] = [
            ("SET", keys.worker_card(self.worker), card.encode(), "PX", keys.WORKER_MS),
            ("ZADD", keys.WORKERS, now, self.worker),
            ("ZREMRANGEBYSCORE", keys.WORKERS, "-inf", now - keys.MODEL_S * 1000),
        ]
        for name in spec.names:
            commands.append(("ZADD", keys.MODELS, now, name))
            if child:  # while it loads, what another worker knows of the model is better
                unless_known = () if child.status.ready else ("NX",)
                about = model_card(spec, child.status, name, created=self._started // 1000).encode()
                commands.append(("SET", keys.model_card(name), about, "EX", keys.MODEL_S, *unless_known))
        await self._bus.connection.insist(commands)
        for name in spec.names:
            await self._bus.depth(name)
        failpoint("announce.after")

    def card(self) -> WorkerCard:
        """This worker as others see it."""
        status = self._child.status if self._child else None
        return WorkerCard(
            id=self.worker,
            model=self._spec.model,
            aliases=self._spec.aliases,
            adapters=self._spec.names[1:],
            engine=self._spec.engine,
            device=status.device if status else "",
            quantization=status.abilities.get("quantization", "") if status else "",
            host=socket.gethostname(),
            pid=self._child.pid if self._child else os.getpid(),
            state=self._state,
            running=status.running if status else 0,
            capacity=status.capacity if status else 0,
            tokens_per_s=self._speed.of(status.tokens if status else 0),
            tokens=status.tokens if status else 0,
            restarts=self._restarts,
            started=self._started,
        )

    async def _goodbye(self) -> None:
        """Be gone at once, not when the card expires."""
        failpoint("goodbye.before")
        with contextlib.suppress(QueuechatError):
            await self._bus.connection.insist(
                [("DEL", keys.worker_card(self.worker)), ("ZREM", keys.WORKERS, self.worker)]
            )
            for model in self._spec.names:
                await self._bus.leave(model, self.worker)

    def _told(self, message: bytes) -> None:
        if message == b"drain" and not self._stop.is_set():  # said twice it does not mean: now
            self.stop()


def worker_id(model: str) -> str:
    """A name that says where and what: host, model and eight random hex digits."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", model.rsplit("/", 1)[-1])[:40]
    return f"{socket.gethostname()}-{slug}-{secrets.token_hex(4)}"
