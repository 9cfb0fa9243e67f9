"""The door, as ASGI middleware before all of the page: it knows who comes, and lets nobody past who must log in first.

Everything of Gradio lies behind it: its page, its API, its files, also those of its routes that it leaves open itself.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from queuechat.errors import QueuechatError
from ui.gate import terms
from ui.gate.bodies import is_upload
from ui.gate.gate import Gate
from ui.gate.login import Login
from ui.gate.origin import foreign
from ui.gate.people import SCOPE_KEY, Visit, pseudonym
from ui.gate.seal import Seal

log = logging.getLogger(__name__)

LOGIN_PATH = "/login"


class Door:
    """Leaves a `Visit` in the scope of each request. What another page makes a browser send is refused, and files of
    those whom the gate would let ask nothing."""

    def __init__(self, app: ASGIApp, seal: Seal, gate: Gate, login: Login | None = None):
        self._app, self._seal, self._gate, self._login = app, seal, gate, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        name = self._login.name_of(request) if self._login else ""
        to_login = bool(self._login and self._login.own and scope["path"] == LOGIN_PATH)
        if self._login and not name and not to_login:
            await self._turned_away(request)(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        person = pseudonym(self._seal, name=name, address=address)
        visit = Visit(person, name, request.cookies.get(terms.COOKIE, ""))
        if problem := "" if to_login else self._objection(request, visit):  # the login has a page to say so
            await JSONResponse({"detail": problem}, 403, {"Cache-Control": "no-store"})(scope, receive, send)
            return
        scope[SCOPE_KEY] = visit
        await self._app(scope, receive, send)

    def _objection(self, request: Request, visit: Visit) -> str:
        if foreign(request):
            return "this did not come from the page"
        if is_upload(request.scope):
            try:
                self._gate.greet(visit)
            except QueuechatError as error:
                return error.message
        return ""

    def _turned_away(self, request: Request) -> Response:
        if self._login and self._login.own and request.url.path == "/" and request.method in ("GET", "HEAD"):
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{LOGIN_PATH[1:]}{query}", 303, {"Cache-Control": "no-store"})
        return JSONResponse({"detail": "log in first"}, 401, {"Cache-Control": "no-store"})


class Porch:
    """Believes proxies that are named, and nobody else: their word on a visitor's address and on a visitor's name."""

    def __init__(self, app: ASGIApp, proxies: Sequence[str], header: str = ""):
        """`proxies` are networks; `header` is the one that names who has logged in, "" for none."""
        self._inner = app
        self._through = ProxyHeadersMiddleware(app, list(proxies))  # type: ignore[arg-type]
        self._networks = [ipaddress.ip_network(network) for network in proxies]
        self._header = header.encode()
        self._strangers: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
        elif self._trusts(peer := scope["client"][0] if scope.get("client") else ""):
            await self._through(scope, receive, send)  # type: ignore[arg-type]
        else:
            self._notice(peer, scope)
            kept = [(name, value) for name, value in scope["headers"] if name != self._header]
            await self._inner({**scope, "headers": kept}, receive, send)

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # what an IPv6 socket calls ::ffff:10.0.0.1
        return any(address in network for network in self._networks)

    def _notice(self, peer: str, scope: Scope) -> None:
        told = any(name == b"x-forwarded-for" for name, _ in scope["headers"])
        if told and peer not in self._strangers and len(self._strangers) < 16:
            self._strangers.add(peer)
            log.warning(
                "%s says that it is a proxy, and is not believed: all who come through it count as one person. "
                "If it is yours, name it in QUEUECHAT_UI_PROXIES",
                peer,
            )
