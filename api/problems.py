"""Errors as HTTP responses, whatever went wrong and wherever; how they look is in the `problems` of each dialect."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from api.house import house_of, ticket_of
from api.metrics import Metrics
from queuechat import errors
from queuechat.dialects import problems as openai
from queuechat.dialects.anthropic import problems as anthropic
from queuechat.dialects.ollama import problems as ollama
from queuechat.dialects.problems import INVALID, SERVER, Kind, body_of, kind_of
from queuechat.errors import QueuechatError

log = logging.getLogger(__name__)

__all__ = [
    "body_of",
    "kind_of",
    "note",
    "on_http_exception",
    "on_queuechat_error",
    "on_validation_error",
    "respond",
    "shape_of",
    "speaks_anthropic",
    "within_stream",
]


#: From how an error looks, its message, param, code and the name of its request to status and body.
Shape = Callable[[Kind, str, str | None, str, str], tuple[int, dict[str, Any]]]


def shape_of(path: str) -> Shape:
    """The form of errors there. Where there is no handler, only the path tells which dialect was spoken."""
    if speaks_anthropic(path):
        return anthropic.told
    return ollama.told if path.startswith("/api/") and not path.startswith("/api/v1/") else openai.told


def speaks_anthropic(path: str) -> bool:
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def respond(error: QueuechatError, request: Request) -> Response:
    """The whole HTTP response."""
    kind = kind_of(error)
    message = kind.message or error.message
    return _response(request, kind, message, error.param, error.code, _headers(error, kind))


def note(error: QueuechatError, metrics: Metrics) -> None:
    """Count an error that is answered, and log what the answer hides."""
    metrics.refused.labels(error.code).inc()
    if kind_of(error).message:
        log.error("answered %r for: %s", error.code, error.message)


def within_stream(failure: Exception, id: str, metrics: Metrics) -> QueuechatError:
    """What the stream of request `id`, which has begun, tells of a failure; counted, and a bug is logged whole."""
    error = failure if isinstance(failure, QueuechatError) else QueuechatError("a bug, see above")
    if error is not failure:
        log.error("request %s failed", id, exc_info=failure)
    note(error, metrics)
    return error


def _response(
    request: Request, kind: Kind, message: str, param: str | None, code: str, headers: dict[str, str]
) -> Response:
    shape = shape_of(request.url.path)
    status, body = shape(kind, message, param, code, ticket_of(request).name)
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def _headers(error: QueuechatError, kind: Kind) -> dict[str, str]:
    headers = {}
    if kind.status == 401:
        headers["www-authenticate"] = "Bearer"
    if kind.status in (429, 503):
        wait = error.retry_after or 1.0
        headers["retry-after"] = str(max(math.ceil(wait), 1))
        headers["retry-after-ms"] = str(max(round(wait * 1000), 1))
    if kind.retry is not None:
        headers["x-should-retry"] = str(kind.retry).lower()
    return headers


async def on_queuechat_error(request: Request, error: Exception) -> Response:
    """What FastAPI, and the middleware before it, answer for an error of the tree."""
    assert isinstance(error, QueuechatError)
    note(error, house_of(request).metrics)
    return respond(error, request)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """FastAPI's own 422, should a route ever declare what FastAPI checks."""
    return await on_queuechat_error(request, errors.InvalidRequest("a parameter of this request is not valid"))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """The router's own words: no such path, wrong method."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"[:200]
    if error.status_code == 404:
        message, code = f"there is no {where}; GET /docs lists what there is", "not_found"
    elif error.status_code == 405:
        allow = _allowed(request)
        error.headers = {"Allow": allow}
        message, code = f"{where} is not allowed here; allowed: {allow}", "method_not_allowed"
    else:
        message, code = str(error.detail), "invalid_value"
    kind = Kind(error.status_code, INVALID if error.status_code < 500 else SERVER, 40001)
    return _response(request, kind, message, None, code, dict(error.headers or {}))


def _allowed(request: Request) -> str:
    """What the path knows, those that it is the very path of before those that it only fits."""
    routes = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    fitting = [route for route in routes if route.path == request.url.path] or routes
    return ", ".join(sorted({method for route in fitting for method in getattr(route, "methods", None) or ()}))
