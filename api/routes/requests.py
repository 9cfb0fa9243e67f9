"""A request after it was queued: where it stands, its events from any place on, and how to stop it."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import asdict

import orjson
from fastapi import APIRouter, Request, Response

from api.events import EventStream
from api.house import House, house_of, ticket_of
from api.openapi import shown
from queuechat.errors import InvalidRequest, RequestNotFound
from queuechat.protocol import choice_id
from queuechat.roster import known_models
from queuechat.timeline import Timeline, find_job

router = APIRouter(tags=["requests"])

_KEPT_S = 900.0  # an ended answer can be read for as long as it is kept

_ID = re.compile(r"(?:chatcmpl-|cmpl-|msg_|resp_)?([0-9a-f]{32}(?:\.[0-9]{1,4})?)")
_PLACE = re.compile(r"([0-9]{1,15})(?:\.([0-9a-f]{16}))?")
_OVER = ".end"  # the id of the last event ends so


@router.get("/v1/requests/{id}", responses=shown("request", "id", "state"))
async def get_request(request: Request, id: str) -> Response:
    """Where a request stands, and its life until now: queued, taken, handed over, first token, end; not its prompt."""
    found = await lookup(request, id)
    body = {"object": "request", **asdict(found)}
    del body["tenant"], body["letter"]
    return Response(orjson.dumps(body), media_type="application/json")


@router.get(
    "/v1/requests/{id}/events",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "Last-Event-ID is that of the end: there is nothing more"},
    },
    openapi_extra={"parameters": [{"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}]},
)
async def get_events(request: Request, id: str, starting_after: str | None = None) -> Response:
    """The answer as server-sent events, from the beginning or after the event that `Last-Event-ID` (or
    `starting_after`) names; running or ended, from any server. Leaving does not stop the request."""
    house = house_of(request)
    house.drain.admit()
    place = request.headers.get("last-event-id") or starting_after or "0"
    found = await lookup(request, id)
    if place.endswith(_OVER):
        return Response(status_code=204)  # tells a browser's EventSource to stop asking
    after, digest = _place(place)
    async with contextlib.AsyncExitStack() as places:
        ticket = ticket_of(request)
        await places.enter_async_context(house.allowance.place(ticket.tenant, ticket.bearer.concurrency, found.id))
        answer = await house.client.reopen(found.model, found.id, after, digest)
        left_s = 0.0 if found.over else max(found.deadline - time.time(), 0)
        return EventStream(house, answer, left_s + _KEPT_S, places.pop_all())


@router.post("/v1/requests/{id}/cancel", responses=shown("request", "id", "cancelled"))
async def cancel_request(request: Request, id: str) -> Response:
    """Stop a request that waits or runs, with all its choices; `<id>.<k>` is one choice. What has ended stays so."""
    found = await lookup(request, id)
    ids = [found.id] if "." in found.id else [choice_id(found.id, k) for k in range(found.choices)]
    words = await house_of(request).bus.cancel(found.model, ids)
    body = {"object": "request", "id": found.id, "cancelled": "OK" in words}
    return Response(orjson.dumps(body), media_type="application/json")


async def lookup(request: Request, id: str) -> Timeline:
    """The job that an id names, of whoever asks.

    Raises:
        RequestNotFound: there is none, not any more, or it is another's.
    """
    house, named = house_of(request), _ID.fullmatch(id)
    found = await _find(house, named[1]) if named else None
    if not found or found.tenant != ticket_of(request).tenant:
        raise RequestNotFound(f"there is no request {id[:80]!r}; answers are kept for 15 minutes after their end")
    return found


async def _find(house: House, id: str) -> Timeline | None:
    found = await find_job(house.bus, house.roster.census.models, id)
    return found or await find_job(house.bus, await known_models(house.bus), id)


def _place(value: str) -> tuple[int, str]:
    place = _PLACE.fullmatch(value)
    if not place:
        raise InvalidRequest("the id of an event is <offset> or <offset>.<hash>", param="starting_after")
    return int(place[1]), place[2] or ""
