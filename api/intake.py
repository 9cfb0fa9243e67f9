"""From an HTTP request to the order it places: body, model, deadline."""

from __future__ import annotations

import math
import secrets
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from api.house import House, house_of
from api.schemas import parse
from api.schemas.base import Body, Generation
from queuechat.protocol import Sampling
from queuechat.roster import Model

B = TypeVar("B", bound=Body)

_IGNORED_HEADERS = ("idempotency-key",)


async def read(request: Request, kind: type[B]) -> tuple[B, Model]:
    """The checked body and the live model that it names.

    Raises:
        Draining: no new work is taken.
        InvalidRequest: the body cannot be served.
        ModelNotFound, NoWorker: nobody serves the model.
    """
    house = house_of(request)
    house.drain.admit()
    body = parse(await _body(request), kind)
    return body, await house.roster.resolve(body.model)


def sampling_of(body: Generation) -> Sampling:
    """How tokens are drawn; without a seed one is drawn here, so that any worker can go on with the same noise."""
    return body.sampling(secrets.randbits(32))


def patience_of(request: Request) -> float:
    """Seconds that the client itself waits between two bytes, as OpenAI's SDKs tell; infinite when unknown."""
    try:
        told = float(request.headers.get("x-stainless-read-timeout", "inf"))
    except ValueError:
        return math.inf
    return told if told > 0 else math.inf  # also for nan


def deadline_of(request: Request, house: House, *, stream: bool) -> float:
    """Seconds until nobody wants the answer. A stream's reader waits for the next byte only, not for the whole."""
    limit = house.settings.deadline_s
    return limit if stream else min(limit, patience_of(request))


def hold_of(request: Request, house: House) -> float:
    """How long a stream's status is held: well within what the client waits for it."""
    return min(house.settings.hold_s, patience_of(request) / 2)


def ignored_of(request: Request, body: Body) -> list[str]:
    """What was sent and means nothing here: headers, then fields."""
    return [name for name in _IGNORED_HEADERS if name in request.headers] + body.ignored


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        return b""  # whatever is answered now, nobody reads it
