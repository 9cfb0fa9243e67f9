"""API keys at the door: everything but the health of the server needs one, when there are any."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.house import house_of, ticket_of
from queuechat.errors import QueuechatError

OPEN_PATHS = frozenset({"/health", "/livez", "/readyz", "/version"})


class Auth:
    """Lets in who has a key and notes whose it is."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            request = Request(scope)
            try:
                bearer = await house_of(request).keys.check(_token(request.headers))
                ticket_of(request).tenant, ticket_of(request).concurrency = bearer.id, bearer.concurrency
            except QueuechatError as error:
                app = await problems.on_queuechat_error(request, error)
        await app(scope, receive, send)


def _token(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
