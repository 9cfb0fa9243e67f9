"""What front ends hold: ask, resume, cancel. Subscribe first, submit then, and fill every gap from the log.

Each second one call per model renews the viewer marks of everything being read and tells which streams have moved on
without us, so a lost pub/sub message costs at most a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from queuechat import keys
from queuechat.answer import Answer, Event, Waiting, failure_of
from queuechat.bus import Bus, Repeated
from queuechat.errors import BusUnavailable, QueuechatError, RequestNotFound
from queuechat.failpoints import failpoint
from queuechat.periodic import Periodic
from queuechat.protocol import Job, choice_id

__all__ = ["Answer", "Client", "Event", "Waiting", "failure_of", "with_choices"]


class Client:
    """One per process; `async with Client(bus, ...)` runs the watchdog."""

    def __init__(self, bus: Bus, *, queue_limit: int = 1000, grace_s: float = 15.0):
        """`queue_limit` is how many jobs may wait in each lane of a model; 0 for any number."""
        self.bus = bus
        self._queue_limit = queue_limit
        self._grace_s = grace_s
        self._answers: set[Answer] = set()
        self._watchdog = Periodic(self._watch, "watchdog")

    async def __aenter__(self) -> Client:
        await self._watchdog.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watchdog.__aexit__()

    @property
    def open_answers(self) -> int:
        return len(self._answers)

    async def submit(
        self,
        jobs: Sequence[Job],
        idem: tuple[str, str] | None = None,
        *,
        outlives: bool = False,
        unwatched: bool = False,
        keep_s: float = 0,
    ) -> Answer:
        """Enqueue the jobs of one request, all or none; the caller closes the answer.

        Args:
            idem: digests of the idempotency key and of the body. A request with the same two has the answer of the
                first, from its beginning; and when its reader leaves, it goes on for its grace time.
            outlives: it goes on so without a key as well.
            unwatched: it goes on until its deadline, whether or not anybody ever reads it.
            keep_s: how long its logs are kept after its end, when that is longer than usual.

        Raises:
            QueueFull, WaitTooLong, MemoryLow: no place; `retry_after` says when to come back.
            IdempotencyMismatch: the key was used with another body.
            BusUnavailable: Redis does not answer, or refuses writes.
        """
        outlives, grace_s = outlives or unwatched or idem is not None, 0 if unwatched else self._grace_s
        answer = Answer(self.bus, jobs[0].model, [job.id for job in jobs], outlives=outlives)
        # The subscription is on its way before the jobs are; its confirmation need not be waited for first, since what
        # a late one misses is read from the log.
        subscribing = asyncio.create_task(self._subscribe(answer))
        try:
            await asyncio.sleep(0)
            failpoint("enqueue.before")
            outcome = await self.bus.enqueue(jobs, limit=self._queue_limit, grace_s=grace_s, idem=idem, keep_s=keep_s)
            failpoint("enqueue.after")
            await subscribing
        except BaseException as error:
            subscribing.cancel()
            await asyncio.wait((subscribing,))
            refused = isinstance(error, QueuechatError) and not isinstance(error, BusUnavailable)
            await answer.close(cancel=not refused)
            raise
        if isinstance(outcome, Repeated):
            await answer.close()
            return await self._join(jobs, outcome.id)
        answer.nothing_missed()
        self._follow(answer)
        return answer

    async def _join(self, jobs: Sequence[Job], first: str) -> Answer:
        """The answer to an earlier request that was the same."""
        answer = Answer(self.bus, jobs[0].model, [choice_id(first, k) for k in range(len(jobs))], outlives=True)
        answer.replayed = True
        await self._subscribe(answer)
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

    async def reopen(self, model: str, id: str, after: int = 0, digest: str = "") -> Answer:
        """The answer of one job, running or ended, from offset `after` on; closing it does not cancel the job.

        Raises:
            RequestNotFound: no such job, or its log has expired.
            ResumeMismatch: no event ended there, or not with prefix hash `digest`.
            BusUnavailable: Redis does not answer.
        """
        answer = Answer(self.bus, model, [id], outlives=True)
        if not (await self.bus.watch(model, [id]))[0].state:
            raise RequestNotFound(f"no request {id!r} for model {model!r}; answers are kept for 15 minutes")
        await answer.skip(after, digest)
        await self._subscribe(answer)
        self._follow(answer)
        return answer

    async def resume(self, model: str, id: str, after: int = 0) -> AsyncIterator[Event]:
        """The events of `reopen`."""
        answer = await self.reopen(model, id, after)
        try:
            while events := await answer.take():
                for _, event in events:
                    yield event
        finally:
            await answer.close()

    async def first_with(self, model: str, key: str) -> str:
        """The id of the request that brought an idempotency key (its digest) first; "" when there is none."""
        found = (await self.bus.connection.insist([("HGET", keys.idem(model, key), "id")]))[0]
        return found.decode() if found else ""

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
            failpoint("subscribe.after")
        except BaseException as error:
            await answer.close(cancel=False)
            if not isinstance(error, TimeoutError):
                raise
            raise BusUnavailable(f"Redis has confirmed no subscription for {patience:g} s", retry_after=1) from None

    async def _watch(self) -> None:
        by_model: dict[str, list[tuple[Answer, int]]] = {}
        for answer in list(self._answers):
            open_ones = [(answer, i) for i, cursor in enumerate(answer.cursors) if not cursor.ended]
            by_model.setdefault(answer.model, []).extend(open_ones)
        parts = [(model, rows[at : at + 200]) for model, rows in by_model.items() for at in range(0, len(rows), 200)]
        # Each for itself: readers of one model must not be taken to have left because another's is out of reach.
        outcomes = await asyncio.gather(*(self._look(*part) for part in parts), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _look(self, model: str, watched: list[tuple[Answer, int]]) -> None:
        failpoint("watch.before")
        sights = await self.bus.watch(model, [answer.cursors[index].job_id for answer, index in watched])
        failpoint("watch.after")
        pace_s = await self._pace(model) if any(seen.place for seen in sights) else 0.0
        for (answer, index), seen in zip(watched, sights, strict=True):
            answer.sight(index, seen, round(seen.place * pace_s, 1))

    async def _pace(self, model: str) -> float:
        try:
            return (await self.bus.depth(model)).pace_s
        except QueuechatError:
            return 0.0  # the place is still worth telling


def with_choices(job: Job, n: int, ids: Sequence[str]) -> list[Job]:
    """`n` jobs that differ in id and noise: the choices of one request."""
    return [replace(job, id=ids[k], sampling=replace(job.sampling, choice=k)) for k in range(n)]
