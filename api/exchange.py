"""One request's way through the queue: submit, hold until the first word, read to the end, or say why not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import cached_property

from prometheus_client import Histogram

from api.house import House, Ticket
from api.rating import headers_of
from queuechat.client import Answer, Event, Waiting, failure_of
from queuechat.dialects.order import Order
from queuechat.errors import QueuechatError
from queuechat.following import Unread
from queuechat.protocol import Chunk, End
from queuechat.rates import Standings

_SETTLED_S = 60.0  # after the deadline nobody comes back to settle what was paid

Events = list[tuple[int, Event]]


#: What is entered before the order of an exchange is submitted, and left when that has ended or was refused.
Shelf = Callable[["Exchange"], contextlib.AbstractAsyncContextManager[None]]


class Exchange:
    """`async with` submits the order; leaving stops reading, and cancels what has not ended.

    It is not cancelled when the client may come back for it: with an idempotency key, or because this server stops.
    """

    def __init__(self, house: House, order: Order, ticket: Ticket, shelf: Shelf | None = None):
        self._house = house
        self._order = order
        self._ticket = ticket
        self._shelf = shelf
        self._answer: Answer | None = None
        self._next: asyncio.Task[Events] | None = None
        self._failure: QueuechatError | None = None
        self._worded = False
        self._released = order.unwatched  # the status is out: failures are told where words were expected
        self._told = False  # how all has ended
        self._heard: dict[int, float] = {}  # of each choice, time.monotonic() of its last tokens
        self._places = contextlib.AsyncExitStack()
        self._shelved = contextlib.AsyncExitStack()
        self.tally = order.tally()

    async def __aenter__(self) -> Exchange:
        ticket, house = self._ticket, self._house
        async with contextlib.AsyncExitStack() as places, contextlib.AsyncExitStack() as shelved:
            id = ticket.id
            bearer = ticket.bearer
            if bearer.limited and self._order.idem:
                id = await house.client.first_with(self._order.model, self._order.idem[0]) or id
            place = house.allowance.place(bearer.id, bearer.concurrency, id, self._goes_on)
            await places.enter_async_context(place)
            price, keep_s = self._order.tokens_asked, self._order.deadline_s + _SETTLED_S
            await places.enter_async_context(
                house.rates.paid(bearer, id, price, keep_s, self._tell_standings, self._used, ticket.id)
            )
            if self._shelf:
                await shelved.enter_async_context(self._shelf(self))
            self._answer = await house.client.submit(
                self._order.jobs, self._order.idem, unwatched=self._order.unwatched, keep_s=self._order.keep_s
            )
            self._places, self._shelved = places.pop_all(), shelved.pop_all()
        return self

    def _tell_standings(self, standings: Standings) -> None:
        self._ticket.headers.update(headers_of(standings))

    def _used(self) -> int | None:
        """Tokens read and written; None when the jobs go on and nobody will know. What was only read again costs
        nothing."""
        if self._answer is None or self._answer.replayed:
            return 0
        if self._goes_on():
            return None
        begun = self._worded or self.tally.generated
        read = self.tally.prompt_tokens or (self._order.prompt_tokens if begun else 0)
        if self._order.embeds:
            return read
        if self._order.unit > 1 and self._answer.ended:
            return read + self.tally.generated
        return read + max(-(-self._answer.tokens // self._order.unit), self.tally.generated)

    def _goes_on(self) -> bool:
        return self._answer is not None and self._answer.outlives and not self._answer.ended and not self._told

    @property
    def id(self) -> str:
        """The request whose answer this is: an earlier one when this repeats it."""
        return self._answer.id if self._answer else self._ticket.id

    @property
    def queued(self) -> bool:
        return self._answer is not None

    @property
    def replayed(self) -> bool:
        return self._answer is not None and self._answer.replayed

    async def __aexit__(self, *_: object) -> None:
        if self._next:
            self._next.cancel()
        try:
            async with self._shelved:
                if self._answer:
                    await self._answer.close(cancel=not self._house.drain.cut)
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Settle now, or when what goes on has ended."""
        if self._ticket.bearer.limited and self._goes_on() and not self.replayed:
            ids = [job.id for job in self._order.jobs]
            self._house.following.add(Unread(self._order.model, ids, self._learn, self._places))
        else:
            await self._places.aclose()

    def _learn(self, ends: Sequence[End | None]) -> None:
        self._told, self.tally = True, self._order.tally()
        for index, end in enumerate(ends):
            if end:
                self.tally.add(index, end)

    async def first_word(self, hold_s: float) -> Events:
        """The first chunks or ends; only the last news of waiting when there is no word within `hold_s`."""
        give_up = time.monotonic() + hold_s
        news: Events = []
        while True:
            # Reading must not be cut short in the middle, or what it has read is lost: the wait is, the task goes on.
            self._next = self._next or asyncio.create_task(self._read())
            await asyncio.wait({self._next}, timeout=max(give_up - time.monotonic(), 0))
            if not self._next.done():
                self._released = True
                return news
            news = await self.take()
            if any(not isinstance(event, Waiting) for _, event in news):
                self._released = True
                return news

    async def take(self) -> Events:
        """The next events; empty at the end of all.

        Raises:
            QueuechatError: an answer ended without being delivered. What came before it was returned before.
        """
        if self._next:
            task, self._next = self._next, None
            return await task
        return await self._read()

    async def _read(self) -> Events:
        if self._failure:
            raise self._failure
        assert self._answer
        events = await self._answer.take_patiently()
        for at, (index, event) in enumerate(events):
            if isinstance(event, End):
                self._end(index, event)
                if self._order.tells_failures and (self._released or self._worded):
                    continue
                self._failure = failure_of(event)
                if self._failure:
                    if at == 0:
                        raise self._failure
                    return events[:at]
            elif not isinstance(event, Waiting):
                self._hear(index, event)
        return events

    def _hear(self, index: int, chunk: Chunk) -> None:
        """What is read again was counted when it was made."""
        now = time.monotonic()
        if not self._worded and not self.replayed:
            self._house.metrics.ttft.labels(self._order.model).observe(self._age())
        self._worded = True
        before = self._heard.get(index)
        if before is not None and chunk.count and not (self.replayed or self._order.embeds):
            self._gaps.observe((now - before) / -(-chunk.count // self._order.unit))
        self._heard[index] = now

    @cached_property
    def _gaps(self) -> Histogram:
        return self._house.metrics.gaps.labels(self._order.model)  # looked up once, not for each token

    def _end(self, index: int, end: End) -> None:
        self.tally.add(index, end)
        if not self.replayed:
            self._house.metrics.end(self._order.model, end, 0 if self._order.embeds else end.tokens)
            self._house.metrics.e2e.labels(self._order.model).observe(self._age())

    def _age(self) -> float:
        return time.monotonic() - self._ticket.arrived
