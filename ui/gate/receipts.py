"""What is uploaded, noted down for whoever has uploaded it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from weakref import WeakValueDictionary

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.gate.bodies import is_upload
from ui.gate.people import SCOPE_KEY
from ui.uploads import Uploads

SHARE = 512 << 20  #: bytes that one person may have uploaded and not asked about
ROOM = 4 << 30  #: and all together
_AT_A_TIME = 8  # uploads of a person; others wait
_COMPRESSED = b"accept-encoding"


class Receipts:
    """ASGI middleware behind the door."""

    def __init__(self, app: ASGIApp, uploads: Uploads):
        self._app, self._uploads = app, uploads
        self._people: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_upload(scope):
            await self._app(scope, receive, send)
            return
        person = scope[SCOPE_KEY].person
        async with self._people.setdefault(person, asyncio.Semaphore(_AT_A_TIME)):
            if self._uploads.held(person) >= SHARE or self._uploads.total >= ROOM:
                words = "too many files are here that nobody has asked about: ask, or wait half an hour"
                await JSONResponse({"detail": words}, 429)(scope, receive, send)
                return
            await self._noted(person, scope, receive, send)

    async def _noted(self, person: str, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = 0, b""

        async def read(message: Message) -> None:
            nonlocal status, body
            status = message.get("status", status)
            body += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body") and status == 200:
                self._uploads.claim(person, map(Path, json.loads(body)))
            await send(message)  # only now can anybody ask about them

        plain = [(name, value) for name, value in scope["headers"] if name != _COMPRESSED]
        await self._app({**scope, "headers": plain}, receive, read)
