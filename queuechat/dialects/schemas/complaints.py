"""Pydantic's findings as one sentence about one field."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from queuechat.errors import InvalidRequest

_WANTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "literal_error": "{expected}",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "a string that is not empty",
    "string_too_long": "a string of at most {max_length} characters",
    "string_pattern_mismatch": "a string that matches {pattern}",
    "too_short": "a list that is not empty",
    "union_tag_invalid": "of type {expected_tags}",
    "union_tag_not_found": "an object with a {discriminator}",
    "too_long": "of at most {max_length} items",
}
_TYPES = frozenset({"string_type", "list_type", "dict_type", "model_type", "int_type", "float_type", "bool_type"})


def complaint(error: ValidationError, body: Any) -> InvalidRequest:
    """The finding that reaches deepest into the body, told in our words.

    Of the branches of a union the one that got furthest is the one that was meant; when all failed at the door,
    their types are listed.
    """
    found = error.errors(include_url=False)
    paths = [_real_path(entry, body) for entry in found]
    top = paths[0][:1]
    too_long = [path for entry, path in zip(found, paths, strict=True) if entry["type"] == "too_long"]
    deepest = too_long[0] if too_long else max((path for path in paths if path[:1] == top), key=_reach)
    entries = [entry for entry, path in zip(found, paths, strict=True) if path == deepest]
    name = _spell(deepest)
    if entries[0]["type"] == "missing":
        problem = InvalidRequest(f"`{name}` is missing", param=name)
        problem.code = "missing_required_parameter"
        return problem
    # A value of the right type that breaks a rule says more than the types of the other branches.
    telling = [entry for entry in entries if entry["type"] not in _TYPES] or entries
    return InvalidRequest(f"`{name}` must {_join(telling)}{_given(telling[0])}", param=name)


def _real_path(entry: ErrorDetails, body: Any) -> tuple[str | int, ...]:
    """The part of `loc` that exists in the body: pydantic mixes the names of union branches into it."""
    path: list[str | int] = []
    for part in entry["loc"]:
        here = isinstance(body, dict) and part in body
        if here or (isinstance(body, list) and isinstance(part, int) and part < len(body)):
            body = body[part]
            path.append(part)
    if entry["type"] == "missing":
        path.append(entry["loc"][-1])
    return tuple(path)


def _reach(path: tuple[str | int, ...]) -> tuple[int, list[int]]:
    return len(path), [part if isinstance(part, int) else 0 for part in path]


def _spell(path: tuple[str | int, ...]) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return name.lstrip(".")[:200]


def _join(entries: list[ErrorDetails]) -> str:
    """ "be a string or a list", or a validator's own words."""
    if entries[0]["type"] == "value_error":
        return str(entries[0]["ctx"]["error"])
    return "be " + " or ".join(dict.fromkeys(_phrase(entry) for entry in entries))


def _phrase(entry: ErrorDetails) -> str:
    wanted = _WANTED.get(entry["type"])
    return wanted.format(**entry.get("ctx", {})) if wanted else "valid: " + entry["msg"].lower()


def _given(entry: ErrorDetails) -> str:
    value = entry["input"]
    if value is None or isinstance(value, bool | int | float | str):
        told = orjson.dumps(value).decode()
        return f", not {told}" if len(told) <= 40 else ""
    return ""
