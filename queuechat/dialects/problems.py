"""The error tree as HTTP: one table, one shape.

Every error body is `{"error": {message, type, param, code}}` (OpenAI) with `object`, `message` and a numeric `code`
beside it (FastChat).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from queuechat import elsewhere, errors
from queuechat.errors import QueuechatError


class Kind(NamedTuple):
    """How a class of errors looks: `message` replaces one that may speak of our inside."""

    status: int
    type: str
    legacy: int
    retry: bool | None = None  # what `x-should-retry` says; None leaves it to the status
    message: str = ""


INVALID, SERVER = "invalid_request_error", "server_error"
_INTERNAL = "internal error; the server's log tells more under this request id"

TABLE: dict[type[QueuechatError], Kind] = {
    QueuechatError: Kind(500, SERVER, 50001, message=_INTERNAL),
    errors.InvalidRequest: Kind(400, INVALID, 40001),
    errors.ContextLengthExceeded: Kind(400, INVALID, 40303),
    errors.BodyTooLarge: Kind(413, INVALID, 40302),
    errors.HeadTooLarge: Kind(431, INVALID, 40302),
    errors.RequestTimeout: Kind(408, INVALID, 40001),
    errors.IdempotencyMismatch: Kind(422, INVALID, 40001),
    errors.ResumeMismatch: Kind(422, INVALID, 40001),
    errors.Conflict: Kind(409, INVALID, 40001, retry=False),
    errors.Unauthorized: Kind(401, INVALID, 40101),
    errors.PermissionDenied: Kind(403, "permission_error", 40103),
    errors.NotFound: Kind(404, INVALID, 40001),
    errors.ModelNotFound: Kind(404, INVALID, 40301),
    errors.Refused: Kind(503, SERVER, 42903),
    errors.QueueFull: Kind(429, "rate_limit_error", 42903),
    errors.TooManyRequests: Kind(429, "rate_limit_error", 42903),
    errors.RateLimited: Kind(429, "rate_limit_error", 42901),
    errors.NoWorker: Kind(503, SERVER, 50005),
    errors.BusUnavailable: Kind(503, SERVER, 50001, message="the queue is not reachable now; ask again in a moment"),
    errors.JobEnded: Kind(500, SERVER, 50001, retry=False),
    errors.Cancelled: Kind(400, INVALID, 40001, retry=False),
    errors.DeadlineExceeded: Kind(504, SERVER, 50006, retry=False),
    errors.EngineDied: Kind(500, SERVER, 50001),
    elsewhere.ProviderFailed: Kind(502, SERVER, 50001),
    elsewhere.ProviderBusy: Kind(503, SERVER, 42903),
    elsewhere.ProviderRefused: Kind(502, SERVER, 50001, retry=False),
    elsewhere.ContentFiltered: Kind(400, INVALID, 40001, retry=False),
    errors.Misconfigured: Kind(500, SERVER, 50001, retry=False, message=_INTERNAL),
}


def kind_of(error: QueuechatError) -> Kind:
    """The row of the nearest class that has one."""
    return next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)


def body_of(error: QueuechatError) -> dict[str, Any]:
    """Both shapes in one object."""
    kind = kind_of(error)
    return shape(kind, kind.message or error.message, error.param, error.code)


def shape(kind: Kind, message: str, param: str | None, code: str) -> dict[str, Any]:
    """The body of an error that looks like `kind`."""
    return {
        "error": {"message": message, "type": kind.type, "param": param, "code": code},
        "object": "error",
        "message": message,
        "code": kind.legacy,
    }


def told(kind: Kind, message: str, param: str | None, code: str, id: str) -> tuple[int, dict[str, Any]]:
    """Status and body; `id` is what the request is called, which a header says here."""
    return kind.status, shape(kind, message, param, code)
