"""Responses on their way out: whole, streamed, queued, or streamed again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import problems
from api.answering import StreamedAnswer, WholeAnswer, headers_of
from api.drain import ClientGone
from api.exchange import Exchange
from api.frames import Frames
from api.house import House, house_of, ticket_of
from api.intake import hold_of
from api.shelf import shelved, shown
from api.sse import EVENT_STREAM, STILL_HERE, comment
from api.writing import Writer
from queuechat.client import Answer, Event, Waiting
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.responses import Asked, Assembly, WholeResponse
from queuechat.dialects.whole import Whole
from queuechat.errors import QueuechatError, ResponseNotFound
from queuechat.responses import Record, find_response

_PAGE = 100  # events that are told in one go


class ResponseFrames:
    """The events of one response, each under its type; of a stream that is read again only those after `after`."""

    media_type = EVENT_STREAM
    still_here = STILL_HERE

    def __init__(self, assembly: Assembly, after: int = -1):
        self.assembly, self._after = assembly, after
        self._opened = False

    def render(self, events: Sequence[tuple[int, Event]]) -> bytes:
        told = [] if self._opened else self.assembly.open()
        self._opened = True
        comments: list[bytes] = []
        for _, event in events:
            if isinstance(event, Waiting):
                comments.append(comment(event))
            else:
                told += self.assembly.feed(event)
        return b"".join(comments + [_frame(one) for one in told if one["sequence_number"] > self._after])

    def last(self, tally: Tally) -> bytes:
        return b""

    def failure(self, error: QueuechatError, id: str) -> bytes:
        """Not an event of the response, which may well go on: it repeats the number of the last one, so that a reader
        who goes on after it misses nothing."""
        body = problems.body_of(error)["error"]
        told = {"type": "error", "sequence_number": self.assembly.last_number, "code": body["code"]}
        return _frame(told | {"message": body["message"], "param": body["param"]})


def respond(request: Request, order: Order, asked: Asked, keep_s: float, *, stream: bool) -> Response:
    """The answer to a new response, which is stored for `keep_s` seconds (0: not at all)."""
    house, ticket = house_of(request), ticket_of(request)
    telling = _Telling(house, asked, Record(asked.id, ticket.tenant, order.model, asked.encode()), keep_s)
    shelf = telling.shelf if keep_s else None
    if stream:
        hold_s = 0.0 if asked.background else hold_of(request, house)
        return _StreamedResponse(telling, house, ticket, order, telling.open, hold_s, shelf)
    if asked.background:
        return QueuedAnswer(request, order, telling)
    return _WholeResponse(telling, house, ticket, order, telling.open_whole, shelf)


class _Telling:
    """One new response: where it is put down, and what is told of it."""

    def __init__(self, house: House, asked: Asked, record: Record, keep_s: float):
        self.asked = asked
        self._house, self._record, self._keep_s = house, record, keep_s
        self._assembly: Assembly | None = None

    def shelf(self, exchange: Exchange) -> contextlib.AbstractAsyncContextManager[None]:
        return shelved(self._house, self._record, self._keep_s, self._read, exchange)

    async def recall(self, exchange: Exchange) -> None:
        """What repeats an earlier request tells the response to that, as it was asked then."""
        self.asked = replace(self.asked, id=exchange.id)
        if exchange.replayed:
            with contextlib.suppress(ResponseNotFound):
                found = await find_response(self._house.bus, exchange.id, self._record.tenant)
                self.asked = Asked.decode(found.asked)

    def open(self, id: str) -> Frames:
        frames = ResponseFrames(Assembly(self.asked))
        self._assembly = frames.assembly
        return frames

    def open_whole(self, id: str) -> Whole:
        whole = WholeResponse(self.asked)
        self._assembly = whole.assembly
        return whole

    def _read(self) -> Assembly | None:
        return self._assembly


class _StreamedResponse(StreamedAnswer):
    def __init__(self, telling: _Telling, *given: Any):
        super().__init__(*given)
        self._telling = telling

    async def _queued(self, exchange: Exchange) -> None:
        await self._telling.recall(exchange)


class _WholeResponse(WholeAnswer):
    def __init__(self, telling: _Telling, *given: Any):
        super().__init__(*given)
        self._telling = telling

    async def _queued(self, exchange: Exchange) -> None:
        await self._telling.recall(exchange)


class QueuedAnswer(Response):
    """A background response as soon as it is queued. What repeats an earlier request tells where that stands."""

    def __init__(self, request: Request, order: Order, telling: _Telling):
        super().__init__()
        self._house, self._ticket = house_of(request), ticket_of(request)
        self._order, self._telling = order, telling

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientGone):
            await self._house.drain.guard(self._run(scope, receive, send), receive, self._order.deadline_s)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with Exchange(self._house, self._order, self._ticket, self._telling.shelf) as exchange:
            headers = headers_of(self._ticket, self._order, exchange)
        if exchange.replayed:
            body = await shown(self._house, await find_response(self._house.bus, exchange.id, self._ticket.tenant))
        else:
            body = Assembly(self._telling.asked).body()
        await Response(orjson.dumps(body), headers=headers, media_type="application/json")(scope, receive, send)


class ReplayedAnswer(Response):
    """The events of a stored response from its first one on: of one that has ended, or (with an `answer`) as they come.
    Leaving does not stop it."""

    def __init__(
        self,
        house: House,
        frames: ResponseFrames,
        events: Sequence[Event],
        answer: Answer | None,
        deadline_s: float,
        places: contextlib.AsyncExitStack,
    ):
        super().__init__()
        del self.headers["content-length"]
        self.headers.update({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self.headers.update({"content-type": EVENT_STREAM, "x-queuechat-request-id": frames.assembly.asked.id})
        self._house, self._frames, self._events, self._answer = house, frames, events, answer
        self._deadline_s, self._places = deadline_s, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = Writer(send)
        try:
            await self._house.drain.guard(self._run(writer), receive, self._deadline_s)
        except ClientGone:
            return
        except Exception as failure:
            error = problems.within_stream(failure, self._frames.assembly.asked.id, self._house.metrics)
            await writer.write(self._frames.failure(error, ""), more=False)
        finally:
            async with self._places:
                if self._answer:
                    await self._answer.close()

    async def _run(self, writer: Writer) -> None:
        await writer.begin(self.raw_headers)
        with self._house.metrics.open_streams.track_inprogress():
            async with writer.kept_alive(STILL_HERE):
                for at in range(0, len(self._events) or 1, _PAGE):
                    told = self._frames.render([(0, event) for event in self._events[at : at + _PAGE]])
                    await writer.write(told or STILL_HERE)
                    await asyncio.sleep(0)  # to write need not be to wait: others have their turn
                while self._answer and (events := await self._answer.take_patiently()):
                    if body := self._frames.render(events):
                        await writer.write(body)
        await writer.write(b"", more=False)


def _frame(event: dict[str, object]) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"
