"""From an HTTP request to the order it places: body, model, deadline."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request

from api.house import House, house_of, ticket_of
from api.pictures import refuse_much_else
from api.scope import model_to_use
from queuechat.dialects.order import Slip
from queuechat.dialects.schemas import parse
from queuechat.dialects.schemas.base import Body
from queuechat.errors import InvalidRequest
from queuechat.failpoints import failpoint
from queuechat.roster import Model

B = TypeVar("B", bound=Body)
P = TypeVar("P", bound=BaseModel)
T = TypeVar("T")
W = ParamSpec("W")

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


async def checked(request: Request, kind: type[P], given: Mapping[str, Any] | None = None) -> P:
    """The checked body, with what is `given` elsewhere.

    Raises:
        Draining: no new work is taken.
        InvalidRequest: the body cannot be served.
    """
    house = house_of(request)
    house.drain.admit()
    raw = await body_of(request)
    body = await house.threads.work(len(raw), _parsed, raw, kind, given, house.settings.body_limit)
    failpoint("body.after")
    return body


def _parsed(raw: bytes, kind: type[P], given: Mapping[str, Any] | None, limit: int) -> P:
    refuse_much_else(raw, limit)
    return parse(raw, kind, given)


async def worked(request: Request, work: Callable[W, T], *given: W.args, **named: W.kwargs) -> T:
    """What `work` on the body gives; in a thread when that is large."""
    return await house_of(request).threads.work(len(await body_of(request)), work, *given, **named)


async def read(
    request: Request,
    kind: type[B],
    model: str | None = None,
    find: Callable[[Request, str], Awaitable[Model]] = model_to_use,
) -> tuple[B, Model]:
    """The checked body and the live model that it names, unless the path does; `find` knows models by their names.

    Raises:
        Draining: no new work is taken.
        InvalidRequest: the body cannot be served.
        ModelNotFound, NoWorker: nobody serves the model.
        PermissionDenied: the key may not use it.
    """
    body = await checked(request, kind, {"model": model} if model else None)
    return body, await find(request, body.model)


def slip_of(request: Request, house: House, model: Model, *, stream: bool) -> Slip:
    """What is known of a request beside its body."""
    ticket = ticket_of(request)
    return Slip(
        ticket.id, model.card.name, deadline_of(request, house, stream=stream), ticket.tenant,
        card=model.card, reasoning_field=house.settings.reasoning_field,
    )  # fmt: skip


def patience_of(request: Request) -> float:
    """Seconds that the client itself waits between two bytes, as OpenAI's SDKs tell; infinite when unknown."""
    try:
        told = float(request.headers.get("x-stainless-read-timeout", "inf"))
    except ValueError:
        return math.inf
    return told if told > 0 else math.inf  # also for nan


def deadline_of(request: Request, house: House, *, stream: bool) -> float:
    """Seconds until nobody wants the answer. A stream's reader waits for the next byte only, not for the whole; and who
    has sent an idempotency key comes back for it."""
    limit = house.settings.deadline_s
    return limit if stream or "idempotency-key" in request.headers else min(limit, patience_of(request))


def hold_of(request: Request, house: House) -> float:
    """How long a stream's status is held: well within what the client waits for it."""
    return min(house.settings.hold_s, patience_of(request) / 2)


async def idem_of(request: Request) -> tuple[str, str] | None:
    """Digests of who asks with which Idempotency-Key, and of what is asked; None without the header.

    Raises:
        InvalidRequest: the key is not 1 to 255 printable ASCII characters.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters", param="Idempotency-Key")
    who = f"{ticket_of(request).tenant}\0{key}".encode()
    asked = await worked(request, _digest, request.url.path, await body_of(request))
    return hashlib.sha256(who).hexdigest(), asked


def _digest(path: str, raw: bytes) -> str:
    """The same for the same JSON, however it is written."""
    body = orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(path.encode() + b"\0" + body).hexdigest()


async def body_of(request: Request) -> bytes:
    """The bytes; none of a client that has left."""
    try:
        return await request.body()
    except ClientDisconnect:
        return b""  # whatever is answered now, nobody reads it
