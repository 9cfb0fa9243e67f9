"""Is it alive, is it ready, what is it, how is it doing."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.house import House, house_of
from api.openapi import told
from queuechat import __version__
from queuechat.errors import QueuechatError

router = APIRouter(tags=["server"])

_PATIENCE_S = 2.0
_ANSWER = told("status", "checks")[200]
_READY: dict[int | str, dict[str, Any]] = {200: _ANSWER, 503: {"description": "Not ready", **_ANSWER}}


@router.get("/livez", responses=told("status"))
@router.head("/livez", include_in_schema=False)  # load balancers ask so
async def livez() -> Response:
    """The process answers."""
    return _json({"status": "alive"})


@router.get("/readyz", responses=_READY)
@router.head("/readyz", include_in_schema=False)
@router.get("/health", responses=_READY)
@router.head("/health", include_in_schema=False)
async def readyz(request: Request) -> Response:
    """Redis answers and the server is not shutting down: 200, else 503."""
    house = house_of(request)
    checks = {"redis": await _redis(house), "draining": "yes" if house.drain.draining else "no"}
    ready = checks == {"redis": "ok", "draining": "no"}
    return _json({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


@router.get("/version", responses=told("version"))
async def version() -> Response:
    """The release of this server."""
    return _json({"version": __version__})


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    house = house_of(request)
    page = await house.metrics.scrape(house.bus, house.roster.census)
    return Response(page, headers={"content-type": CONTENT_TYPE_LATEST})


async def _redis(house: House) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await house.bus.connection.insist([("PING",)], patience_s=0)
    except (QueuechatError, TimeoutError):
        return "unreachable"
    return "ok"


def _json(body: dict[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
