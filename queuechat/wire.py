"""How values look on the wire: a version byte, then a JSON object; an error by its code."""

from __future__ import annotations

from typing import Any

import orjson

from queuechat.errors import QueuechatError, tree

VERSION = b"1"


def load(raw: bytes) -> dict[str, Any]:
    """Raises ValueError for what another release, or nobody, has written."""
    if raw[:1] != VERSION:
        raise ValueError(f"wire version {raw[:1]!r} is not {VERSION!r}: another release of queuechat wrote this")
    body = orjson.loads(raw[1:])
    if not isinstance(body, dict):
        raise ValueError("a wire value is a JSON object")
    return body


def from_wire(code: str, message: str, param: str | None = None) -> QueuechatError:
    """The error that a `code` names; an unknown code becomes the root with that code kept."""
    for kind in tree():
        if kind.code == code:
            return kind(message, param=param)
    error = QueuechatError(message, param=param)
    error.code = code
    return error
