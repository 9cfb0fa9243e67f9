"""Responses: asked, read again, gone on from, stopped, forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api import intake
from api.house import house_of, ticket_of
from api.listing import limit_of, newest_first_of
from api.openapi import EVENTS, body_of
from api.pictures import refuse_long, with_pictures
from api.reading import counted
from api.recall import Room, conversation, resolved
from api.responding import ReplayedAnswer, ResponseFrames, respond
from api.shelf import shown, stored
from queuechat.dialects.order import Slip
from queuechat.dialects.responses import Asked, Assembly, Sights, asked_of, order_of
from queuechat.dialects.schemas import ResponseRequest
from queuechat.errors import InvalidRequest, RequestNotFound
from queuechat.keys import LOG_S
from queuechat.pages import Page
from queuechat.responses import Record, delete_response, read_events, state_of
from queuechat.roster import Model

router = APIRouter(tags=["responses"])

_CANCELLED_S = 2.0  # a worker that runs it ends it within a step


@router.post("/v1/responses", openapi_extra=body_of(ResponseRequest, streams=EVENTS))
async def create_response(request: Request) -> Response:
    """Answer a conversation, whole, as server-sent events, or (`background`) when there is time. Stored unless `store`
    is false."""
    body, model = await intake.read(request, ResponseRequest)
    slip = _slip(request, model, body)
    keep_s = house_of(request).settings.response_ttl_s + slip.deadline_s if body.stored else 0.0
    before, own, previous = await _items(request, body, slip)
    slip = await with_pictures(request, slip, Sights(body.model, before + own, len(before)))
    idem = await intake.idem_of(request)
    order = await intake.worked(request, order_of, body, slip, before + own, idem, keep_s=keep_s)
    asked = await intake.worked(request, asked_of, body, order, own, int(time.time()), previous)
    return respond(request, order, asked, keep_s, stream=bool(body.stream))


@router.post("/v1/responses/input_tokens", openapi_extra=body_of(ResponseRequest, keyed=False))
async def count_input_tokens(request: Request) -> Response:
    """How many tokens a response would read: its instructions, what it goes on from, its input and its tools."""
    body, model = await intake.read(request, ResponseRequest)
    slip = intake.slip_of(request, house_of(request), model, stream=False)
    before, own, _ = await _items(request, body, slip)
    slip = await with_pictures(request, slip, Sights(body.model, before + own, len(before)))
    order = await intake.worked(request, order_of, body, slip, before + own)

    def show(count: int) -> dict[str, Any]:
        return {"object": "response.input_tokens", "input_tokens": count}

    return counted(request, order.jobs[0], body.model, show)


@router.get("/v1/responses/{id}")
async def get_response(request: Request, id: str) -> Response:
    """A stored response as it is now; with `stream=true` its events, from the first or after the one numbered
    `starting_after`, running or ended, the same from every server."""
    record = await stored(house_of(request), id, ticket_of(request).tenant)
    if _flag(request, "stream"):
        return await _replayed(request, record, _number(request))
    return _json(await shown(house_of(request), record))


@router.delete("/v1/responses/{id}")
async def delete_stored_response(request: Request, id: str) -> Response:
    """Forget a response, and stop it if it runs."""
    house = house_of(request)
    record = await stored(house, id, ticket_of(request).tenant)
    await delete_response(house.bus, record)
    return _json({"id": id, "object": "response", "deleted": True})


@router.post("/v1/responses/{id}/cancel")
async def cancel_response(request: Request, id: str) -> Response:
    """Stop a response that waits or runs; one that has ended stays as it is."""
    house = house_of(request)
    record = await stored(house, id, ticket_of(request).tenant)
    if (await house.client.cancel(record.model, record.id)) == "OK":
        with contextlib.suppress(TimeoutError, RequestNotFound):
            async with asyncio.timeout(_CANCELLED_S):
                async for _ in house.client.resume(record.model, record.id):
                    pass
    return _json(await shown(house, record))


@router.get("/v1/responses/{id}/input_items")
async def get_input_items(request: Request, id: str, after: str | None = None) -> Response:
    """What a response was asked, without what it goes on from; the last item first unless `order` is asc."""
    record = await stored(house_of(request), id, ticket_of(request).tenant)
    limit, newest_first = limit_of(request, 20, 100), newest_first_of(request)
    items = Asked.decode(record.asked).items
    items = items[::-1] if newest_first else items
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise InvalidRequest(f"`after` is {after[:80]!r}, which is not in this list", param="after")
    start = ids.index(after) + 1 if after is not None else 0
    page = Page(items[start : start + limit], len(items) > start + limit)
    return _json(page.shown(lambda item: item))


def _slip(request: Request, model: Model, body: ResponseRequest) -> Slip:
    house = house_of(request)
    slip = intake.slip_of(request, house, model, stream=bool(body.stream))
    return replace(slip, deadline_s=house.settings.background_deadline_s) if body.background else slip


async def _items(
    request: Request, body: ResponseRequest, slip: Slip
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """What it goes on from, its own input, and the id of the job before it ("" for none)."""
    house, tenant = house_of(request), ticket_of(request).tenant
    items, room = await intake.worked(request, body.items, slip.id), Room(house.settings)
    await refuse_long(request, Sights(body.model, items).pictures())
    if body.previous_response_id is None:
        return [], await resolved(house, tenant, items, room), ""
    room.take(items, "previous_response_id")
    before, previous = await conversation(house, tenant, body.previous_response_id, room)
    return before, await resolved(house, tenant, items, room), previous


async def _replayed(request: Request, record: Record, after: int) -> Response:
    house, ticket = house_of(request), ticket_of(request)
    house.drain.admit()
    frames = ResponseFrames(Assembly(Asked.decode(record.asked)), after)
    async with contextlib.AsyncExitStack() as places:
        await places.enter_async_context(house.allowance.place(ticket.tenant, ticket.bearer.concurrency, record.id))
        if await state_of(house.bus, record) in ("waiting", "running"):
            answer = await house.client.reopen(record.model, record.id)
            deadline_s = max(house.settings.deadline_s, house.settings.background_deadline_s) + LOG_S
            return ReplayedAnswer(house, frames, [], answer, deadline_s, places.pop_all())
        events = await read_events(house.bus, record)
        if not events:
            raise InvalidRequest(
                "the events of this response are gone: of one that did not run in the background they are kept for 15 "
                "minutes",
                param="stream",
            )
        return ReplayedAnswer(house, frames, events, None, LOG_S, places.pop_all())


def _flag(request: Request, name: str) -> bool:
    told = request.query_params.get(name, "false").lower()
    if told not in ("true", "false"):
        raise InvalidRequest(f"`{name}` must be true or false", param=name)
    return told == "true"


def _number(request: Request) -> int:
    told = request.query_params.get("starting_after", "-1")
    if told != "-1" and not (told.isdecimal() and len(told) < 16):
        raise InvalidRequest("`starting_after` must be the sequence_number of an event", param="starting_after")
    return int(told)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
