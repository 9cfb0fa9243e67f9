"""How values look on the wire: a version byte, then a JSON object; an error by its code."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

import orjson

import queuechat.elsewhere  # noqa: F401 - a code may be of its branch
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


def chosen(value: Any, *always: str) -> dict[str, Any]:
    """The fields of a dataclass that are not at their defaults, and those that are `always` told.

    What a release does not know it cannot read, and this leaves it as much as it can know. So no default may change.
    """
    told = {f.name: getattr(value, f.name) for f in fields(value)}
    return {f.name: told[f.name] for f in fields(value) if f.name in always or told[f.name] != _default(f)}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
