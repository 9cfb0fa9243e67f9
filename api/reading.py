"""The answer that tells what prompts are to their models. A worker reads them at once, however busy its engine is.

`counted` is for every endpoint that only wants to know how long a request would be: it takes the job that would answer
it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.answering import LATE_S, headers_of
from api.drain import ClientGone
from api.exchange import Exchange
from api.house import house_of, ticket_of
from queuechat.dialects.order import Order
from queuechat.dialects.reading import reading_of
from queuechat.protocol import End, Job, Read


class ReadAnswer(Response):
    """One JSON object, made by `show` of what was read for all jobs of the orders; an order is one model's."""

    def __init__(self, request: Request, orders: Sequence[Order], show: Callable[[list[Read]], dict[str, Any]]):
        super().__init__()
        self._house, self._ticket, self._orders, self._show = house_of(request), ticket_of(request), orders, show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        patience_s = sum(order.deadline_s for order in self._orders) + LATE_S
        with contextlib.suppress(ClientGone):
            await self._house.drain.guard(self._run(scope, receive, send), receive, patience_s)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"content-type": "application/json"}
        reads = [read for order in self._orders for read in await self._read(order, headers)]
        response = Response(orjson.dumps(self._show(reads)), headers=headers)
        await response(scope, receive, send)

    async def _read(self, order: Order, headers: dict[str, str]) -> list[Read]:
        found = [Read(0)] * len(order.jobs)
        async with Exchange(self._house, order, self._ticket) as exchange:
            while events := await exchange.take():
                for index, event in events:
                    if isinstance(event, End) and event.read:
                        found[index] = event.read
            headers |= headers_of(self._ticket, order, exchange)
        return found


def counted(request: Request, job: Job, name: str, show: Callable[[int], dict[str, Any]]) -> Response:
    """How many tokens the prompt of `job` has, as `show` tells it; `name` is the model as the user called it.

    The response raises what the prompt deserves, such as InvalidRequest for messages that the template refuses.
    """
    return ReadAnswer(request, [Order([reading_of(job)], name)], lambda reads: show(reads[0].count))
