"""Dead letters of whoever asks: requests that took too many workers with them."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from fastapi import APIRouter, Request, Response

from api.house import house_of, ticket_of
from api.openapi import listed, shown
from api.routes.requests import lookup
from queuechat.errors import RequestNotFound
from queuechat.letters import Letter, drop, letter_of, list_letters, redrive
from queuechat.roster import known_models

router = APIRouter(tags=["dead letters"])

_MOST = 1000


@router.get("/v1/dead_letters", responses=listed("dead_letter"))
async def get_letters(request: Request, model: str | None = None) -> Response:
    """The newest letters, of one model or of all: yours among the last thousand."""
    bus, tenant = house_of(request).bus, ticket_of(request).tenant
    names = await known_models(bus) if model is None else [model]
    letters = await list_letters(bus, names, count=_MOST)
    return _json({"object": "list", "data": [_shown(letter) for letter in letters if letter.tenant == tenant]})


@router.post("/v1/dead_letters/{id}/redrive", responses=shown("request", "id", "redriven"))
async def redrive_letter(request: Request, id: str) -> Response:
    """Queue the request again, with what was delivered of it; its events are at /v1/requests/{id}/events."""
    letter = await _letter(request, id)
    house_of(request).drain.admit()
    if (await redrive(house_of(request).bus, [letter]))[0] == "MISSING":
        raise RequestNotFound(f"request {letter.id!r} is too old: it is kept for 7 days")
    return _json({"object": "request", "id": letter.id, "redriven": True})


@router.delete("/v1/dead_letters/{id}", responses=shown("dead_letter", "id", "deleted"))
async def drop_letter(request: Request, id: str) -> Response:
    """Forget the letter, its request and what was answered of it."""
    letter = await _letter(request, id)
    await drop(house_of(request).bus, [letter])
    return _json({"object": "dead_letter", "id": letter.id, "deleted": True})


async def _letter(request: Request, id: str) -> Letter:
    found = await lookup(request, id)
    if found.state != "dead":
        raise RequestNotFound(f"there is no dead letter {id[:80]!r}")
    return letter_of(found)


def _shown(letter: Letter) -> dict[str, object]:
    row = asdict(letter)
    del row["tenant"], row["entry"]
    return {"object": "dead_letter", **row}


def _json(body: dict[str, object]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
