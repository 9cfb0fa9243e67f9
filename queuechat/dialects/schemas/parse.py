"""From bytes to a checked request, or an error that says which field and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from queuechat.dialects.schemas.complaints import complaint
from queuechat.dialects.schemas.refusals import refuse_unsupported
from queuechat.errors import InvalidJSON, InvalidRequest

MAX_DEPTH = 32
MAX_NODES = 20_000  #: lists and objects of a body; a chat with hundreds of tools has some thousands

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)  # of JSON

B = TypeVar("B", bound=BaseModel)


def parse(raw: bytes, kind: type[B], given: Mapping[str, Any] | None = None) -> B:
    """The request that a body is; fields that are `given` elsewhere, as in the path, win.

    Raises:
        InvalidJSON: it is no JSON.
        UnsupportedParameter: it asks for something that cannot be honoured.
        InvalidRequest: a field is missing, of the wrong type or out of range.
    """
    return checked(_load(raw) | dict(given or {}), kind)


def checked(body: dict[str, Any], kind: type[B]) -> B:
    """The same of a body that is read already. A kind of another dialect than OpenAI's says in `refuse` what it cannot
    honour.

    Raises:
        UnsupportedParameter, InvalidRequest: as `parse`.
    """
    refuse = getattr(kind, "refuse", None)
    if refuse:
        refuse(body)
    else:
        refuse_unsupported(body, getattr(kind, "refused", {}))
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise complaint(error, body) from None


def _load(raw: bytes) -> dict[str, Any]:
    brackets = _brackets(raw)
    if brackets > MAX_NODES and _brackets(_STRING.sub(b"", raw)) > MAX_NODES:
        raise InvalidRequest(f"the request body has more than {MAX_NODES} lists and objects")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(f"the request body is not valid JSON: {error.msg} (line {error.lineno})") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the request body must be a JSON object")
    if brackets > MAX_DEPTH and deeper_than(body, MAX_DEPTH):
        raise InvalidRequest(f"the request body is nested more than {MAX_DEPTH} levels deep")
    return body


def _brackets(raw: bytes) -> int:
    return raw.count(b"{") + raw.count(b"[")


def deeper_than(body: Any, levels: int) -> bool:
    """Whether JSON nests more than so many levels, counted without recursion."""
    layer = [body]
    for _ in range(levels):
        layer = [child for node in layer for child in _children(node) if isinstance(child, dict | list)]
        if not layer:
            return False
    return True


def _children(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node
