"""The streams of one request as a reader holds them: in order, without a gap, without a repeat.

Pub/sub brings events as they happen; the log is the truth, and every gap is filled from it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from queuechat import keys
from queuechat.bus import Bus, Entry, Sight, Subscription
from queuechat.errors import (
    BusUnavailable,
    Cancelled,
    DeadlineExceeded,
    JobFailed,
    QueuechatError,
    ResumeMismatch,
    StateLost,
    StreamDiverged,
)
from queuechat.failpoints import failpoint
from queuechat.protocol import DELIVERED, Chunk, End, PrefixHash, Reason, decode_event
from queuechat.wire import from_wire

_RETRY_S = 0.5
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
    hash: PrefixHash = field(default_factory=PrefixHash)  # of all that was read
    ended: bool = False
    stale: bool = False  # the log has something that was not seen
    unsure: bool = False  # Redis may be another one than before: compare the log with what was read
    lost: bool = False  # the job is gone
    short: bool = False  # the job has ended before what was read
    place: int = 0


class Answer:
    """The streams of one request, one for each job, behind one wake-up."""

    def __init__(self, bus: Bus, model: str, ids: Sequence[str], *, outlives: bool = False):
        """`outlives`: when the reader leaves, the jobs go on for their grace time, so that it can come back."""
        self._bus = bus
        self.model = model
        self.id = ids[0]
        self.outlives = outlives
        self.replayed = False  #: whether an earlier request has started these jobs
        self.cursors = [_Cursor(id) for id in ids]
        self._open = len(ids)  # of them have not ended
        self._subscriptions: list[Subscription] = []
        self._inbox: deque[tuple[int, bytes]] = deque()
        self._news: list[tuple[int, Event]] = []
        self._wake = asyncio.Event()
        self._failure: StateLost | StreamDiverged | None = None
        self.on_close: Callable[[Answer], None] = lambda _: None

    @property
    def ended(self) -> bool:
        return not self._open

    @property
    def tokens(self) -> int:
        """How many were read, of all jobs."""
        return sum(cursor.next for cursor in self.cursors)

    async def take_patiently(self) -> list[tuple[int, Event]]:
        """As `take`, but with Redis away it asks again until it is back: a deadline ends this, not an outage."""
        while True:
            try:
                return await self.take()
            except BusUnavailable:
                await asyncio.sleep(_RETRY_S)

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
        await self._bus.cancel(self.model, [cursor.job_id for cursor in self.cursors])

    async def close(self, *, cancel: bool = True) -> None:
        """Stop reading; jobs that have not ended are cancelled, unless told otherwise or they outlive their reader."""
        self.on_close(self)
        if cancel and not self.ended and not self.outlives:
            with contextlib.suppress(QueuechatError):
                await self.cancel()
        while self._subscriptions:
            await self._bus.listener.unsubscribe(self._subscriptions.pop())

    async def subscribe(self) -> None:
        for index, cursor in enumerate(self.cursors):
            channel = keys.out(self.model, cursor.job_id)
            subscription = await self._bus.listener.subscribe(channel, self._receiver(index), self._resync)
            self._subscriptions.append(subscription)

    async def skip(self, after: int, digest: str = "") -> None:
        """Begin at offset `after` of the only job. Its log is read up to there, to know what was delivered.

        Raises:
            InvalidRequest: no event ended at `after`, or not with the prefix hash `digest` (when one is given).
        """
        cursor, moved = self.cursors[0], True
        while moved and cursor.next < after:
            moved = False
            for entry in await self._bus.read_log(self.model, cursor.job_id, cursor.next):
                event = decode_event(entry.raw)
                if not isinstance(event, Chunk) or event.end > after:
                    break
                cursor.next, moved = event.end, True
                cursor.hash.update(event.hashed)
        if cursor.next != after or (digest and cursor.hash.value != digest):
            raise ResumeMismatch(f"this request has no event {after}{'.' + digest if digest else ''} to go on after")

    def nothing_missed(self) -> None:
        """Subscribed before anything was said: there is no log to read yet."""
        for cursor in self.cursors:
            cursor.stale = cursor.unsure = False

    def sight(self, index: int, seen: Sight, eta_s: float) -> None:
        """What the watchdog saw of one job."""
        cursor = self.cursors[index]
        if cursor.ended:
            return
        if not seen.state:
            cursor.lost = True
        elif seen.next < cursor.next and seen.state in ("waiting", "running"):
            cursor.unsure = True
            return
        elif seen.next < cursor.next:
            cursor.short = True
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
            cursor.stale = cursor.unsure = True
        self._wake.set()

    async def _collect(self) -> list[tuple[int, Event]]:
        if self._failure:
            raise self._failure
        events, self._news = self._news, []
        try:
            while self._inbox:
                index, raw = self._inbox.popleft()
                self._accept(index, decode_event(raw), events)
            for index, cursor in enumerate(self.cursors):
                if cursor.lost or cursor.short or cursor.stale:
                    await self._catch_up(index, cursor, events)
        except (StateLost, StreamDiverged) as failure:
            if not events:
                raise
            self._failure = failure  # what was read before goes out first
        return events

    async def _catch_up(self, index: int, cursor: _Cursor, events: list[tuple[int, Event]]) -> None:
        if cursor.lost:
            raise StateLost("the request is gone from Redis (it was flushed, or lost its disk)")
        if cursor.short:
            raise StreamDiverged(f"the request has ended with fewer than the {cursor.next} tokens that were delivered")
        if not cursor.ended:
            await self._fill(index, events)

    def _accept(self, index: int, event: Chunk | End, events: list[tuple[int, Event]]) -> None:
        cursor = self.cursors[index]
        if cursor.ended or (isinstance(event, Chunk) and event.end <= cursor.next):
            return
        if isinstance(event, End) and event.offset < cursor.next:
            raise StreamDiverged(f"it ended after {event.offset} tokens, and {cursor.next} were delivered")
        if cursor.unsure or event.offset != cursor.next:
            cursor.stale = True
        else:
            self._take_in(index, event, events)

    def _take_in(self, index: int, event: Chunk | End, events: list[tuple[int, Event]]) -> None:
        cursor = self.cursors[index]
        if event.offset != cursor.next:
            raise StreamDiverged(f"the log goes on at offset {event.offset}, and {cursor.next} tokens were delivered")
        if isinstance(event, Chunk):
            cursor.next = event.end
            cursor.hash.update(event.hashed)
        elif not cursor.ended:
            cursor.ended = True
            self._open -= 1
        events.append((index, event))

    async def _fill(self, index: int, events: list[tuple[int, Event]]) -> None:
        cursor = self.cursors[index]
        cursor.stale = False
        while not cursor.ended:
            try:
                failpoint("fill.before")
                entries = await self._bus.read_log(self.model, cursor.job_id, cursor.next, with_last=True)
                failpoint("fill.after")
            except BusUnavailable:
                cursor.stale = True
                if not events:
                    raise
                self._wake.set()  # what was read is not lost: it goes out first
                return
            if cursor.next and not entries:
                cursor.unsure = True  # the log has lost its tail: whoever writes it again must write the same
                return
            for entry in _beyond(entries, cursor):
                self._take_in(index, decode_event(entry.raw), events)
            cursor.unsure = False
            if len(entries) < 500:
                return


def _beyond(entries: Sequence[Entry], cursor: _Cursor) -> Sequence[Entry]:
    """What follows the last event that was read, which comes first and must be the one that was read."""
    if not cursor.next:
        return entries
    last = decode_event(entries[0].raw)
    if not isinstance(last, Chunk) or last.end != cursor.next or entries[0].hash != cursor.hash.value:
        raise StreamDiverged(
            f"the log does not hold the {cursor.next} tokens that were delivered; it has lost its tail"
        )
    return entries[1:]


def failure_of(end: End) -> QueuechatError | None:
    """The error that an End which brought no full answer stands for; None when it did."""
    if end.reason in DELIVERED:
        return None
    if end.error:
        return from_wire(end.error.code, end.error.message, end.error.param)
    if end.reason is Reason.CANCELLED:
        return Cancelled("the request was cancelled")
    if end.reason is Reason.DEADLINE:
        return DeadlineExceeded("the request was not answered within its deadline")
    return JobFailed("the request could not be answered")
