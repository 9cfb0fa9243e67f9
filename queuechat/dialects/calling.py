"""The arguments of a call as an object, for the dialects that show them so."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic_core import from_json


def object_of(arguments: str) -> dict[str, Any] | None:
    """What the arguments say, as far as they were written: an answer may be cut short in them. None where they are no
    JSON object."""
    try:
        value = _loaded(arguments)
        orjson.dumps(value)  # too deep, or a number too long, to be told on
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, dict) else None


def as_text(name: str, arguments: str) -> str:
    """A call that cannot be shown as one, as models write it."""
    return f'{{"name": {orjson.dumps(name).decode()}, "arguments": {arguments}}}'


def _loaded(arguments: str) -> Any:
    try:
        return orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return from_json(arguments, allow_partial=True, allow_inf_nan=False)
