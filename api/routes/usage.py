"""GET /v1/usage: what the key that asks has had."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from fastapi import APIRouter, Request, Response

from api.house import house_of, ticket_of
from api.openapi import listed
from queuechat.errors import InvalidRequest
from queuechat.roster import known_models
from queuechat.usage import By, Spent, days_since, summed, take_usage, total

router = APIRouter(tags=["usage"])


@router.get("/v1/usage", responses=listed("usage"))
async def get_usage(request: Request, since: str = "24h", by: str = "day") -> Response:
    """Requests and tokens of your own key, by `day` or `model`; `since` (24h, 30d) counts whole days (UTC) from the one
    in which it began."""
    if by not in (By.DAY, By.MODEL):
        raise InvalidRequest("by must be day or model", param="by")
    bus, days = house_of(request).bus, days_since(since, datetime.now(UTC))
    rows = await take_usage(bus, await known_models(bus), days, ticket_of(request).tenant)
    body = {
        "object": "list",
        "since": days[0],
        "data": [{"object": "usage", by: getattr(row, by), **_counts(row)} for row in summed(rows, By(by))],
        "total": _counts(total(rows)),
    }
    return Response(orjson.dumps(body), media_type="application/json")


def _counts(row: Spent) -> dict[str, int]:
    return {
        "requests": row.requests,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.tokens,
        "total_tokens": row.prompt_tokens + row.tokens,
    }
