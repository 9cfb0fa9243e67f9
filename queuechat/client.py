"""What front ends hold: ask, resume, cancel. Subscribe first, submit then, and fill every gap from the log.

Each second one call per model renews the viewer marks of everything being read and tells which streams have moved on
without us, so a lost pub/sub message costs at most a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from queuechat import keys
from queuechat.answer import Answer, Event, Waiting, failure_of
from queuechat.bus import Bus, Full, Repeated
from queuechat.errors import BusUnavailable, QueuechatError, QueueFull, RequestNotFound
from queuechat.protocol import Job

__all__ = ["Answer", "Client", "Event", "Waiting", "failure_of", "with_choices"]

log = logging.getLogger(__name__)


class Client:
    """One per process; `async with Client(bus, ...)` runs the watchdog."""

    def __init__(self, bus: Bus, *, queue_limit: int = 1000, grace_s: float = 15.0):
        self.bus = bus
        self._queue_limit = queue_limit
        self._grace_s = grace_s
        self._answers: set[Answer] = set()
        self._watchdog: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Client:
        self._watchdog = asyncio.create_task(self._watch(), name="watchdog")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watchdog:
            self._watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watchdog

    @property
    def open_answers(self) -> int:
        return len(self._answers)

    async def submit(self, jobs: Sequence[Job]) -> Answer:
        """Enqueue the jobs of one request, all or none; the caller closes the answer.

        Raises:
            QueueFull: the waiting room has no place; `retry_after` says when to come back.
            BusUnavailable: Redis does not answer, or refuses writes.
        """
        answer = Answer(self.bus, jobs[0].model, [job.id for job in jobs])
        # The subscription is on its way before the jobs are; its confirmation need not be waited for first, since what
        # a late one misses is read from the log.
        subscribing = asyncio.create_task(self._subscribe(answer))
        try:
            await asyncio.sleep(0)
            outcome = await self.bus.enqueue(jobs, limit=self._limit(jobs[0]), grace_s=self._grace_s)
            await subscribing
        except BaseException:
            subscribing.cancel()
            await asyncio.wait((subscribing,))
            await answer.close()
            raise
        answer.nothing_missed()
        if isinstance(outcome, Full):
            await answer.close(cancel=False)
            raise QueueFull(
                f"{outcome.waiting} requests wait for {jobs[0].model!r} already; come back later",
                retry_after=outcome.retry_after_s,
            )
        assert not isinstance(outcome, Repeated)
        self._follow(answer)
        return answer

    async def ask(self, job: Job) -> AsyncIterator[Event]:
        """The events of one job, up to and with its End. Leaving early cancels it."""
        answer = await self.submit([job])
        try:
            while events := await answer.take():
                for _, event in events:
                    yield event
        finally:
            await answer.close()

    async def resume(self, model: str, id: str, after: int = 0) -> AsyncIterator[Event]:
        """The events of a running or ended job from offset `after` on. Leaving early does not cancel it.

        Raises:
            RequestNotFound: no such job, or its log has expired.
        """
        answer = Answer(self.bus, model, [id], after)
        try:
            if not (await self.bus.watch(model, [id]))[0].state:
                raise RequestNotFound(f"no request {id!r} for model {model!r}; logs are kept for 15 minutes")
            await answer.subscribe()
            self._follow(answer)
            while events := await answer.take():
                for _, event in events:
                    yield event
        finally:
            await answer.close(cancel=False)

    async def cancel(self, model: str, id: str) -> str:
        """OK, ALREADY (it had ended) or MISSING."""
        return (await self.bus.cancel(model, [id]))[0]

    def _follow(self, answer: Answer) -> None:
        self._answers.add(answer)
        answer.on_close = self._answers.discard

    async def _subscribe(self, answer: Answer) -> None:
        patience = self.bus.connection.patience_s
        try:
            async with asyncio.timeout(patience):
                await answer.subscribe()
        except BaseException as error:
            await answer.close(cancel=False)
            if not isinstance(error, TimeoutError):
                raise
            raise BusUnavailable(f"Redis has confirmed no subscription for {patience:g} s", retry_after=1) from None

    def _limit(self, job: Job) -> int:
        return self._queue_limit if job.lane == "jobs" else 0

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(keys.BEAT_S)
            by_model: dict[str, list[tuple[Answer, int]]] = {}
            for answer in list(self._answers):
                open_ones = [(answer, i) for i, cursor in enumerate(answer.cursors) if not cursor.ended]
                by_model.setdefault(answer.model, []).extend(open_ones)
            for model, watched in by_model.items():
                try:
                    await self._look(model, watched)
                except QueuechatError as error:
                    log.warning("cannot watch %s: %s", model, error)

    async def _look(self, model: str, watched: list[tuple[Answer, int]]) -> None:
        ids = [answer.cursors[index].job_id for answer, index in watched]
        for start in range(0, len(ids), 200):
            part = slice(start, start + 200)
            sights = await self.bus.watch(model, ids[part])
            rate = (await self.bus.depth(model)).finished_per_s if any(s.place for s in sights) else 0.0
            for (answer, index), seen in zip(watched[part], sights, strict=True):
                answer.sight(index, seen, round(seen.place / rate, 1) if rate else 0.0)


def with_choices(job: Job, n: int, ids: Sequence[str]) -> list[Job]:
    """`n` jobs that differ in id and noise: the choices of one request."""
    return [replace(job, id=ids[k], sampling=replace(job.sampling, choice=k)) for k in range(n)]
