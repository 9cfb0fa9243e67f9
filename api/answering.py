"""ASGI responses that read an exchange: a stream as it comes, or the whole answer at its end."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import problems
from api.drain import ClientGone
from api.exchange import Exchange, Shelf
from api.frames import Frames, Opening
from api.house import House, Ticket, house_of, ticket_of
from api.intake import hold_of
from api.likely import LikelyFrames
from api.parts import PartFrames
from api.sse import TextFrames
from api.writing import Writer
from queuechat.dialects.order import Order
from queuechat.dialects.style import Style
from queuechat.dialects.texts import WholeTexts
from queuechat.dialects.whole import Whole, WholeText

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # anything else could forge headers

LATE_S = 5.0  # Redis ends a late job by itself; this is for one that nobody watches any more


def answer(request: Request, order: Order, style: Style, *, stream: bool) -> Response:
    """An order for text, streamed or whole."""
    house, ticket = house_of(request), ticket_of(request)
    if stream:
        told = PartFrames if style.chat else LikelyFrames
        kind, created = (TextFrames if order.plain else told), int(time.time())
        opening = functools.partial(kind, style, created=created, order=order)
        return StreamedAnswer(house, ticket, order, opening, hold_of(request, house))
    now = int(time.time())

    def whole(id: str) -> Whole:
        return WholeText(style, order, now, id) if style.chat else WholeTexts(order, now)

    return WholeAnswer(house, ticket, order, whole)


class _Answering(Response):
    """A response that comes out of the queue; it ends when its client leaves."""

    def __init__(self, house: House, ticket: Ticket, order: Order, shelf: Shelf | None = None):
        super().__init__()
        self._house = house
        self._ticket = ticket
        self._order = order
        self._shelf = shelf

    async def _queued(self, exchange: Exchange) -> None:
        """What is done once it is known whose answer this is, before anything of that is told."""

    async def _guard(self, work: Coroutine[Any, Any, None], receive: Receive) -> None:
        await self._house.drain.guard(work, receive, self._order.deadline_s + LATE_S)


class StreamedAnswer(_Answering):
    """A stream in any dialect. The status is held until the first word, so that a bad prompt is a 400."""

    def __init__(
        self, house: House, ticket: Ticket, order: Order, opening: Opening, hold_s: float, shelf: Shelf | None = None
    ):
        super().__init__(house, ticket, order, shelf)
        del self.headers["content-length"]
        self.headers.update({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._opening, self._hold_s = opening, hold_s
        self._frames: Frames | None = None  # until the status is out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = Writer(send)
        try:
            await self._guard(self._run(writer), receive)
        except ClientGone:
            return
        except Exception as error:
            if self._frames is None:
                raise
            await self._fail(error, self._frames, writer)

    async def _run(self, writer: Writer) -> None:
        async with Exchange(self._house, self._order, self._ticket, self._shelf) as exchange:
            await self._queued(exchange)
            frames = self._opening(exchange.id)
            self.headers.update(headers_of(self._ticket, self._order, exchange))
            self.headers["content-type"] = frames.media_type
            events = await exchange.first_word(self._hold_s)
            self._frames = frames
            await writer.begin(self.raw_headers)
            with self._house.metrics.open_streams.track_inprogress():
                async with writer.kept_alive(frames.still_here):
                    await writer.write(frames.render(events) or frames.still_here)
                    while events := await exchange.take():
                        if body := frames.render(events):
                            await writer.write(body)
                await writer.write(frames.last(exchange.tally), more=False)

    async def _fail(self, failure: Exception, frames: Frames, writer: Writer) -> None:
        """The status is out: the error goes where the next words were expected."""
        error = problems.within_stream(failure, self._ticket.name, self._house.metrics)
        await writer.write(frames.failure(error, self.headers["x-queuechat-request-id"]), more=False)


class WholeAnswer(_Answering):
    """One JSON object, when all jobs have ended."""

    def __init__(
        self, house: House, ticket: Ticket, order: Order, opening: Callable[[str], Whole], shelf: Shelf | None = None
    ):
        super().__init__(house, ticket, order, shelf)
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientGone):
            await self._guard(self._run(scope, receive, send), receive)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with Exchange(self._house, self._order, self._ticket, self._shelf) as exchange:
            await self._queued(exchange)
            whole = self._opening(exchange.id)
            while events := await exchange.take():
                for index, event in events:
                    whole.add(index, event)
            body = whole.body(exchange.id, exchange.tally)
        response = Response(orjson.dumps(body), headers=headers_of(self._ticket, self._order, exchange))
        response.headers["content-type"] = "application/json"
        await response(scope, receive, send)


def headers_of(ticket: Ticket, order: Order, exchange: Exchange) -> dict[str, str]:
    """Which request of the queue this was, and what of it was not looked at."""
    headers = {"x-queuechat-request-id": exchange.id}
    if exchange.replayed:
        headers["idempotency-replayed"] = "true"
    if order.ignored:
        names = [name if _PLAIN.fullmatch(name) else "?" for name in order.ignored[:20]]
        headers["x-queuechat-ignored"] = ",".join(name[:64] for name in names)
    return headers
