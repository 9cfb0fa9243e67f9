"""The door, as ASGI middleware: every request gets an id, is counted, and must stay within its limits."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.auth import OPEN_PATHS
from api.house import Ticket, house_of
from queuechat.errors import BodyTooLarge, QueuechatError, RequestTimeout, UnsupportedParameter
from queuechat.protocol import new_id

log = logging.getLogger(__name__)

_SANE_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_PROBES = OPEN_PATHS | {"/metrics"}
GONE = 499  #: nginx' number for a client that left before it had an answer
BODY_S = 20.0  #: for the first byte of a body; each `BODY_RATE` bytes that came give a second more
BODY_RATE = 1000


class Door:
    """Issues the ticket, names it in `x-request-id`, counts the answer, and turns a bug into a plain 500."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["ticket"] = ticket = _ticket(scope)
        status = 0

        async def stamp(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({**_names(scope, ticket), **ticket.headers})
            await send(message)

        try:
            await self._app(scope, receive, stamp)
        except Exception:
            log.exception("request %s failed", ticket.name)
            if status:
                raise  # too late for an error page: the connection must break
            await problems.respond(QueuechatError(""), Request(scope))(scope, receive, stamp)
        finally:
            _count(scope, ticket, status or GONE)


class BodyLimit:
    """Refuses bodies over the limit, by their announced length at once, chunked ones when they get there; and those
    that come too slowly. `paths` have limits of their own."""

    def __init__(self, app: ASGIApp, limit: int, paths: Mapping[str, int] | None = None):
        self._app = app
        self._limit = limit
        self._paths = paths or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            limit = self._paths.get(scope["path"], self._limit)
            receive = self._counted(receive, limit)
            if error := self._fault(Headers(scope=scope), limit):
                app = await problems.on_queuechat_error(Request(scope), error)
        await app(scope, receive, send)

    def _fault(self, headers: Headers, limit: int) -> QueuechatError | None:
        if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            return UnsupportedParameter(
                "a compressed body is not supported: send it as it is", param="Content-Encoding"
            )
        length = headers.get("content-length", "0")
        return _too_large(limit) if not length.isdecimal() or int(length) > limit else None

    def _counted(self, receive: Receive, limit: int) -> Receive:
        seen, began, more = 0, 0.0, True

        async def counted() -> Message:
            nonlocal seen, began, more
            if not more:
                return await receive()
            began = began or asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout_at(began + BODY_S + seen / BODY_RATE):
                    message = await receive()
            except TimeoutError:
                more = False  # who goes on waits for the end of the connection only
                raise RequestTimeout(f"the request body does not come: {seen} bytes until now") from None
            more = message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > limit:
                more = False
                raise _too_large(limit)
            return message

        return counted


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is over {limit} bytes")


def _ticket(scope: Scope) -> Ticket:
    id, name = new_id(), Headers(scope=scope).get("x-request-id", "")
    return Ticket(id, name if _SANE_NAME.fullmatch(name) else id, time.monotonic())


def _names(scope: Scope, ticket: Ticket) -> dict[str, str]:
    """What the request is called, in the header in which its client looks for it."""
    names = {"x-request-id": ticket.name}
    return names | {"request-id": ticket.name} if problems.speaks_anthropic(scope["path"]) else names


def _count(scope: Scope, ticket: Ticket, status: int) -> None:
    route, method = _route(scope), scope["method"]
    house_of(Request(scope)).metrics.requests.labels(route, method, str(status)).inc()
    level = logging.DEBUG if route in _PROBES else logging.INFO
    log.log(level, "%s %s %d %.3f s %s", method, route, status, time.monotonic() - ticket.arrived, ticket.name)


def _route(scope: Scope) -> str:
    """The path as it was declared: paths as they were asked for would be labels without end."""
    return cast(str, getattr(scope.get("route"), "path", "other"))
