"""Errors as Anthropic's clients read them."""

from __future__ import annotations

from typing import Any

from queuechat.dialects.problems import Kind

OVERLOADED = 529  #: Anthropic's number for "not now"

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


def told(kind: Kind, message: str, param: str | None, code: str, id: str) -> tuple[int, dict[str, Any]]:
    """Status and body; `id` is what the request is called. What is wrong is in the message alone."""
    status = OVERLOADED if kind.status == 503 else kind.status
    type = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return status, {"type": "error", "error": {"type": type, "message": message}, "request_id": id}
