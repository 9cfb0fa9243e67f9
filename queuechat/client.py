"""What front ends hold: ask, resume, cancel. Subscribe first, submit then, and fill every gap from the log.

Pub/sub brings events as they happen; the log is the truth. Each second one call per model renews the viewer marks of
everything being read and tells which streams have moved on without us, so a lost message costs at most a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from queuechat import keys
from queuechat.bus import Bus, Full, Repeated, Sight
from queuechat.errors import BusUnavailable, QueuechatError, QueueFull, RequestNotFound, StateLost, StreamDiverged
from queuechat.protocol import Chunk, End, Job, decode_event

log = logging.getLogger(__name__)

_BACKLOG = 1024  # messages kept for a slow reader; what is beyond is read from the log when it comes


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not taken yet: `place` jobs are to be taken until this one is (1 = next); `eta_s` is 0 when unknown."""

    place: int
    eta_s: float


Event = Waiting | Chunk | End


@dataclass(slots=True)
class _Cursor:
    """How far one job has been read."""

    job_id: str
    next: int = 0
    ended: bool = False
    stale: bool = False  # the log has something that was not seen
    lost: bool = False
    place: int = 0


class Answer:
    """The streams of one request, one for each job, behind one wake-up."""

    def __init__(self, client: Client, model: str, ids: Sequence[str], after: int = 0):
        self._client = client
        self.model = model
        self.id = ids[0]
        self.cursors = [_Cursor(id, next=after) for id in ids]
        self._inbox: deque[tuple[int, bytes]] = deque()
        self._news: list[tuple[int, Event]] = []
        self._wake = asyncio.Event()

    @property
    def ended(self) -> bool:
        return all(cursor.ended for cursor in self.cursors)

    async def take(self) -> list[tuple[int, Event]]:
        """Wait for the next events and return all there are, as (choice, event), in order for each choice.

        Returns an empty list when every job has ended.

        Raises:
            StateLost: a job is gone from Redis.
            StreamDiverged: the log does not continue what was read.
            BusUnavailable: the log had to be read and Redis does not answer.
        """
        while not self.ended:
            events = await self._collect()
            if events:
                return events
            await self._wake.wait()
            self._wake.clear()
        return []

    async def cancel(self) -> None:
        """Ask that all jobs stop; their Ends still come."""
        await self._client.bus.cancel(self.model, [cursor.job_id for cursor in self.cursors])

    async def close(self, *, cancel: bool = True) -> None:
        """Stop reading; jobs that have not ended are cancelled unless told otherwise."""
        self._client.forget(self)
        if cancel and not self.ended:
            with contextlib.suppress(QueuechatError):
                await self.cancel()
        for cursor in self.cursors:
            await self._client.bus.listener.unsubscribe(keys.out(self.model, cursor.job_id))

    async def subscribe(self) -> None:
        for index, cursor in enumerate(self.cursors):
            channel = keys.out(self.model, cursor.job_id)
            await self._client.bus.listener.subscribe(channel, self._receiver(index), self._resync)

    def nothing_missed(self) -> None:
        """Subscribed before anything was said: there is no log to read yet."""
        for cursor in self.cursors:
            cursor.stale = False

    def sight(self, index: int, seen: Sight, eta_s: float) -> None:
        """What the watchdog saw of one job."""
        cursor = self.cursors[index]
        if cursor.ended:
            return
        if not seen.state:
            cursor.lost = True
        elif seen.state not in ("waiting", "running") or seen.next > cursor.next:
            cursor.stale = True
        elif seen.place and seen.place != cursor.place:
            self._news.append((index, Waiting(seen.place, eta_s)))
        else:
            return
        cursor.place = seen.place
        self._wake.set()

    def _receiver(self, index: int):  # type: ignore[no-untyped-def]
        def receive(raw: bytes) -> None:
            if len(self._inbox) < _BACKLOG:
                self._inbox.append((index, raw))
            else:
                self.cursors[index].stale = True
            self._wake.set()

        return receive

    def _resync(self) -> None:
        for cursor in self.cursors:
            cursor.stale = True
        self._wake.set()

    async def _collect(self) -> list[tuple[int, Event]]:
        events, self._news = self._news, []
        while self._inbox:
            index, raw = self._inbox.popleft()
            self._accept(index, decode_event(raw), events)
        for index, cursor in enumerate(self.cursors):
            if cursor.lost:
                raise StateLost("the request is gone from Redis (it was flushed, or lost its disk)")
            if cursor.stale and not cursor.ended:
                await self._fill(index, events)
        return events

    def _accept(self, index: int, event: Chunk | End, events: list[tuple[int, Event]]) -> None:
        cursor = self.cursors[index]
        if cursor.ended or (isinstance(event, Chunk) and event.end <= cursor.next):
            return
        if event.offset > cursor.next:
            cursor.stale = True
        elif event.offset < cursor.next:
            raise StreamDiverged(f"the log goes back from offset {cursor.next} to {event.offset}")
        elif isinstance(event, Chunk):
            cursor.next = event.end
            events.append((index, event))
        else:
            cursor.ended = True
            events.append((index, event))

    async def _fill(self, index: int, events: list[tuple[int, Event]]) -> None:
        cursor = self.cursors[index]
        cursor.stale = False
        while not cursor.ended:
            try:
                entries = await self._client.bus.read_log(self.model, cursor.job_id, cursor.next)
            except BusUnavailable:
                cursor.stale = True
                if not events:
                    raise
                self._wake.set()  # what was read is not lost: it goes out first
                return
            for entry in entries:
                self._accept(index, decode_event(entry.raw), events)
            if len(entries) < 500:
                return


class Client:
    """One per process; `async with Client(bus, ...)` runs the watchdog."""

    def __init__(self, bus: Bus, *, queue_limit: int = 1000, grace_s: float = 15.0):
        self.bus = bus
        self._queue_limit = queue_limit
        self._grace_s = grace_s
        self._answers: set[Answer] = set()
        self._rates: dict[str, float] = {}
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
        answer = Answer(self, jobs[0].model, [job.id for job in jobs])
        await self._subscribe(answer)
        answer.nothing_missed()
        try:
            outcome = await self.bus.enqueue(jobs, limit=self._limit(jobs[0]), grace_s=self._grace_s)
        except BaseException:
            await answer.close()
            raise
        if isinstance(outcome, Full):
            await answer.close(cancel=False)
            raise QueueFull(
                f"{outcome.waiting} requests wait for {jobs[0].model!r} already; come back later",
                retry_after=outcome.retry_after_s,
            )
        assert not isinstance(outcome, Repeated)
        self._answers.add(answer)
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
        answer = Answer(self, model, [id], after)
        try:
            if not (await self.bus.watch(model, [id]))[0].state:
                raise RequestNotFound(f"no request {id!r} for model {model!r}; logs are kept for 15 minutes")
            await answer.subscribe()
            self._answers.add(answer)
            while events := await answer.take():
                for _, event in events:
                    yield event
        finally:
            await answer.close(cancel=False)

    async def cancel(self, model: str, id: str) -> str:
        """OK, ALREADY (it had ended) or MISSING."""
        return (await self.bus.cancel(model, [id]))[0]

    def forget(self, answer: Answer) -> None:
        self._answers.discard(answer)

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
            for answer in self._answers:
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
