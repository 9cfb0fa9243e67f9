"""API keys at the door: everything but the health of the server needs one, when there are any."""

from __future__ import annotations

import contextlib

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.house import house_of, ticket_of
from queuechat.credentials import Bearer
from queuechat.errors import BusUnavailable, QueuechatError, Unauthorized

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
                ticket_of(request).bearer = await _bearer(request)
            except QueuechatError as error:
                app = await problems.on_queuechat_error(request, error)
        await app(scope, receive, send)


async def _bearer(request: Request) -> Bearer:
    """Whoever sends it. Only wrong keys are counted against an address: a good one works though others behind the same
    proxy guess.

    Raises:
        Unauthorized: nobody that is known.
        RateLimited: the same, once too often from this address.
    """
    house, token = house_of(request), _token(request.headers)
    try:
        return await house.keys.check(token)
    except Unauthorized:
        if token and request.client:
            with contextlib.suppress(BusUnavailable):
                await house.rates.wrong_key(request.client.host, house.settings.wrong_keys)
        raise


def _token(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
