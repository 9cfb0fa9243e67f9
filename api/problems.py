"""The error tree as HTTP: one table, one shape.

Every error body is `{"error": {message, type, param, code}}` (OpenAI) with `object`, `message` and a numeric `code`
beside it (FastChat), whatever went wrong and wherever.
"""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.house import house_of
from api.metrics import Metrics
from queuechat import errors
from queuechat.errors import QueuechatError

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """How a class of errors looks: `message` replaces one that may speak of our inside."""

    status: int
    type: str
    legacy: int
    retry: bool | None = None  # what `x-should-retry` says; None leaves it to the status
    message: str = ""


_INVALID, _SERVER = "invalid_request_error", "server_error"
_INTERNAL = "internal error; the server's log tells more under this request id"

TABLE: dict[type[QueuechatError], Kind] = {
    QueuechatError: Kind(500, _SERVER, 50001, message=_INTERNAL),
    errors.InvalidRequest: Kind(400, _INVALID, 40001),
    errors.ContextLengthExceeded: Kind(400, _INVALID, 40303),
    errors.BodyTooLarge: Kind(413, _INVALID, 40302),
    errors.IdempotencyMismatch: Kind(422, _INVALID, 40001),
    errors.ResumeMismatch: Kind(422, _INVALID, 40001),
    errors.Unauthorized: Kind(401, _INVALID, 40101),
    errors.PermissionDenied: Kind(403, "permission_error", 40103),
    errors.NotFound: Kind(404, _INVALID, 40001),
    errors.ModelNotFound: Kind(404, _INVALID, 40301),
    errors.Refused: Kind(503, _SERVER, 42903),
    errors.QueueFull: Kind(429, "rate_limit_error", 42903),
    errors.TooManyRequests: Kind(429, "rate_limit_error", 42903),
    errors.RateLimited: Kind(429, "rate_limit_error", 42901),
    errors.NoWorker: Kind(503, _SERVER, 50005),
    errors.BusUnavailable: Kind(503, _SERVER, 50001, message="the queue is not reachable now; ask again in a moment"),
    errors.JobEnded: Kind(500, _SERVER, 50001, retry=False),
    errors.Cancelled: Kind(400, _INVALID, 40001, retry=False),
    errors.DeadlineExceeded: Kind(504, _SERVER, 50006, retry=False),
    errors.EngineDied: Kind(500, _SERVER, 50001),
    errors.Misconfigured: Kind(500, _SERVER, 50001, retry=False, message=_INTERNAL),
}


def kind_of(error: QueuechatError) -> Kind:
    """The row of the nearest class that has one."""
    return next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)


def body_of(error: QueuechatError) -> dict[str, Any]:
    """Both shapes in one object."""
    kind = kind_of(error)
    return _body(kind, kind.message or error.message, error.param, error.code)


def respond(error: QueuechatError) -> Response:
    """The whole HTTP response."""
    kind = kind_of(error)
    return _response(body_of(error), kind.status, _headers(error, kind))


def note(error: QueuechatError, metrics: Metrics) -> None:
    """Count an error that is answered, and log what the answer hides."""
    metrics.refused.labels(error.code).inc()
    if kind_of(error).message:
        log.error("answered %r for: %s", error.code, error.message)


def _body(kind: Kind, message: str, param: str | None, code: str) -> dict[str, Any]:
    return {
        "error": {"message": message, "type": kind.type, "param": param, "code": code},
        "object": "error",
        "message": message,
        "code": kind.legacy,
    }


def _response(body: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
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
    return respond(error)


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
        message, code = f"{where} is not allowed here; allowed: {_allowed(error)}", "method_not_allowed"
    else:
        message, code = str(error.detail), "invalid_value"
    kind = Kind(error.status_code, _INVALID if error.status_code < 500 else _SERVER, 40001)
    return _response(_body(kind, message, None, code), error.status_code, dict(error.headers or {}))


def _allowed(error: HTTPException) -> str:
    return (error.headers or {}).get("Allow", "other methods")
