"""How values look on the wire: a version byte, then a JSON object."""

from __future__ import annotations

from typing import Any

import orjson

VERSION = b"1"


def load(raw: bytes) -> dict[str, Any]:
    """Raises ValueError for what another release, or nobody, has written."""
    if raw[:1] != VERSION:
        raise ValueError(f"wire version {raw[:1]!r} is not {VERSION!r}: another release of queuechat wrote this")
    body = orjson.loads(raw[1:])
    if not isinstance(body, dict):
        raise ValueError("a wire value is a JSON object")
    return body
