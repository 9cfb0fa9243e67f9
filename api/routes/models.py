"""GET /v1/models and one of them."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api.house import house_of, ticket_of
from api.openapi import listed, shown
from api.scope import allowed, model_to_show
from queuechat.protocol import Depth
from queuechat.roster import Model, capabilities, take_depths

router = APIRouter(tags=["models"])

_JSON = "application/json"


@router.get("/v1/models", responses=listed("model"))
async def list_models(request: Request) -> Response:
    """The models that live workers serve, as far as the key may use them, and each of their aliases as an entry of its
    own."""
    house = house_of(request)
    live = allowed(ticket_of(request).bearer, house.roster.census.live)
    depths = await take_depths(house.bus, [model.card.name for model in live])
    rows = [
        _entry(name, model, depths[model.card.name])
        for model in live
        for name in (model.card.name, *model.card.aliases)
    ]
    unique = {row["id"]: row for row in sorted(rows, key=lambda row: row["id"] == row["root"])}
    listed = sorted(unique.values(), key=lambda row: str(row["id"]))
    page = {"has_more": False, "first_id": _id_at(listed, 0), "last_id": _id_at(listed, -1)}
    return Response(orjson.dumps({"object": "list", "data": listed} | page), media_type=_JSON)


@router.get("/v1/models/{id:path}", responses=shown("model", "id", "status"))
async def get_model(request: Request, id: str) -> Response:
    """One model, by name or alias; with `status` no_worker when nobody serves it now."""
    model = await model_to_show(request, id)
    depths = await take_depths(house_of(request).bus, [model.card.name])
    return Response(orjson.dumps(_entry(id, model, depths[model.card.name])), media_type=_JSON)


def _id_at(rows: list[dict[str, Any]], place: int) -> str | None:
    return str(rows[place]["id"]) if rows else None


def _entry(name: str, model: Model, depth: Depth) -> dict[str, Any]:
    """In OpenAI's form, with what Anthropic's clients look for beside it."""
    card = model.card
    return {
        "id": name,
        "object": "model",
        "created": card.created,
        "owned_by": "queuechat",
        "root": card.name,
        "parent": card.parent or None,
        "permission": [_permission(name, card.created)],
        "max_model_len": card.context_length or None,
        "aliases": card.aliases,
        "capabilities": capabilities(card),
        "status": model.status,
        "engine": card.engine,
        "queue": {"waiting": depth.waiting, "running": depth.running},
        "type": "model",
        "display_name": name,
        "created_at": datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z"),
    }


def _permission(name: str, created: int) -> dict[str, Any]:
    """FastChat's block; its clients look for it, nothing is decided by it."""
    return {
        "id": f"modelperm-{zlib.crc32(name.encode()):08x}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": True,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
