"""The cursor that a list request brings."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from queuechat.errors import InvalidRequest


def limit_of(request: Request, default: int, most: int) -> int:
    """Raises InvalidRequest when `limit` is not 1 to `most`."""
    told = request.query_params.get("limit", str(default))
    if len(told) > 9 or not told.isdecimal() or not 1 <= int(told) <= most:
        raise InvalidRequest(f"`limit` must be 1 to {most}", param="limit")
    return int(told)


def newest_first_of(request: Request) -> bool:
    """Raises InvalidRequest when `order` is neither asc nor desc."""
    told = request.query_params.get("order", "desc")
    if told not in ("asc", "desc"):
        raise InvalidRequest("`order` must be asc or desc", param="order")
    return told == "desc"


def cursor(most: int, default: int, *, ordered: bool = False) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads `limit`, and `order` if `ordered`."""
    limit = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    parameters: list[dict[str, Any]] = [{"name": "limit", "in": "query", "schema": limit}]
    if ordered:
        order = {"type": "string", "enum": ["asc", "desc"], "default": "desc"}
        parameters.append({"name": "order", "in": "query", "schema": order})
    return {"parameters": parameters}
