"""Asking, and telling how far the answer has come, at a tempo that a page can follow."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from queuechat.answer import Answer, Event, Waiting
from queuechat.client import Client
from queuechat.dialects.speech import Manner, Part, Reader, ReasoningDelta, ToolStart
from queuechat.errors import BusUnavailable, DeadlineExceeded, QueuechatError
from queuechat.protocol import Chunk, End, Job, Reason

TEMPO_S = 0.04  #: at most 25 updates a second reach the page
_SLOWEST_S = 0.2  # and of a long answer at least five
_SLOWER_S = 0.02  # between two updates for each 1,000 characters: the longer a text, the longer a page draws it
PULSE_S = 1.0  #: and at least one, so that a page that has left is noticed
_SUBMIT_S = 6.0
_STOP_S = 2.0
_LATE_S = 5.0


@dataclass(slots=True)
class Progress:
    """How far an answer has come; `reader` tells its thoughts from its words."""

    text: str = ""
    thoughts: str = ""
    tokens: int = 0
    place: int = 0
    eta_s: float = 0.0
    end: End | None = None
    asked_at: float = field(default_factory=time.monotonic)
    first_at: float = 0.0
    reader: Reader = field(default_factory=lambda: Reader(Manner(), ""))

    def accept(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, Waiting):
            self.place, self.eta_s = event.place, event.eta_s
            return
        self.place = 0
        self._hear(self.reader.feed(event.text))
        if isinstance(event, Chunk):
            self.tokens = event.end
            self.first_at = self.first_at or time.monotonic()
        else:
            self._hear(self.reader.finish())
            self.end = event

    def _hear(self, parts: list[Part]) -> None:
        for part in parts:
            if isinstance(part, ReasoningDelta):
                self.thoughts += part.text
            else:
                self.text += part.name if isinstance(part, ToolStart) else part.text

    @property
    def length(self) -> int:
        """Characters so far."""
        return len(self.text) + len(self.thoughts)

    @property
    def writing_s(self) -> float:
        return time.monotonic() - self.first_at if self.first_at else 0.0


async def follow(
    client: Client,
    job: Job,
    stop: asyncio.Event,
    *,
    manner: Manner | None = None,
    tempo_s: float = TEMPO_S,
    pulse_s: float = PULSE_S,
) -> AsyncGenerator[Progress, None]:
    """Ask, and tell how far the answer is: not more often than `tempo_s`, not more rarely than `pulse_s`.

    The answer is read in that manner; without one all of it is words. Setting `stop` cancels the job and ends the
    answer with what there is. Leaving early cancels it too.

    Raises:
        QueuechatError: it was refused, or ended without an answer.
    """
    answer = await _submit(client, job)
    feed = _Feed(answer, stop)
    progress = Progress(reader=Reader(manner or Manner(), job.id))
    try:
        while progress.end is None:
            for event in await feed.take(pulse_s):
                progress.accept(event)
            if progress.end is None and feed.given_up:
                progress.end = End(Reason.CANCELLED, offset=progress.tokens)
            if time.monotonic() - progress.asked_at > job.deadline_s + _LATE_S:
                raise DeadlineExceeded("the deadline passed")
            yield progress
            if progress.end is None:
                await asyncio.sleep(max(tempo_s, min(_SLOWER_S * progress.length / 1000, _SLOWEST_S)))
    finally:
        await feed.close()
        await answer.close()


async def _submit(client: Client, job: Job) -> Answer:
    try:
        # A subscription waits for a Redis that is away as long as it takes: too long for somebody at a page.
        async with asyncio.timeout(_SUBMIT_S):
            return await client.submit([job])
    except TimeoutError:
        raise BusUnavailable("Redis does not answer", retry_after=1) from None


class _Feed:
    """An answer's events with a limit on patience, and the wish to stop passed on to Redis."""

    def __init__(self, answer: Answer, stop: asyncio.Event):
        self._answer = answer
        self._stop = stop
        self._stopped_at = 0.0
        self._taking: asyncio.Task[list[tuple[int, Event]]] | None = None
        self._stopping = asyncio.create_task(self._pass_on(), name="stop")

    @property
    def given_up(self) -> bool:
        """Whether the stop was asked for so long ago that its End will not come (Redis is away)."""
        return bool(self._stopped_at) and time.monotonic() - self._stopped_at > _STOP_S

    async def take(self, patience_s: float) -> list[Event]:
        """The next events, or none when patience ends."""
        # Cancelling `take` could lose what it had in hand, so one that has nothing yet goes on until the next call.
        self._taking = self._taking or asyncio.create_task(self._answer.take(), name="take")
        done, _ = await asyncio.wait({self._taking}, timeout=patience_s)
        if not done:
            return []
        taken, self._taking = self._taking, None
        return [event for _, event in taken.result()]

    async def close(self) -> None:
        for task in (self._taking, self._stopping):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, QueuechatError):
                    await task

    async def _pass_on(self) -> None:
        await self._stop.wait()
        self._stopped_at = time.monotonic()
        with contextlib.suppress(QueuechatError):
            await self._answer.cancel()
