"""How large a request may be: by what its head says, and counted as it comes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from queuechat.settings import Settings

_CALLS = "/gradio_api/"
_FRAMING = 64 << 10  # bytes around the files of an upload, and of requests that carry nothing large
_DRAINED = 128 << 20  # bytes of what is refused that are read and thrown away
_LONGEST = 4_000_000  # characters of a conversation where the settings name no limit
_EACH = 8  # bytes for each character of it: four in UTF-8, and as many for thoughts, notices and footers


def is_upload(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload"))


@dataclass(frozen=True, slots=True)
class Rooms:
    """Bytes of a body: of an upload, of a call of the page (the conversation that is shown goes with each question,
    pictures included), and of anything else."""

    upload: int
    call: int
    other: int = _FRAMING

    def of(self, scope: Scope) -> int:
        if is_upload(scope):
            return self.upload
        return self.call if scope["path"].startswith(_CALLS) else self.other


def rooms_of(settings: Settings) -> Rooms:
    """An upload may have all the files of a question; what the other limits let in has room in a call."""
    upload = settings.image_count * settings.image_limit + settings.text_limit + _FRAMING
    said = _EACH * (settings.ui_conversation_limit or _LONGEST)
    return Rooms(upload, settings.body_room + said)


class Bodies:
    """ASGI middleware: what is larger is answered with 413, and never held."""

    def __init__(self, app: ASGIApp, rooms: Rooms):
        self._app, self._rooms = app, rooms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._rooms.of(scope)
        told = Headers(scope=scope).get("content-length", "")
        if told.isdigit() and int(told) > limit:
            await _refuse(limit, scope, receive, send)
            return
        body = _Body(receive, send, limit, whole=not is_upload(scope))
        try:
            await self._app(scope, body.receive, body.send)
        except BrokenOff:
            if not body.broken:
                raise
        if body.over and not body.answered:
            await _refuse(limit, scope, receive, send)


class BrokenOff(MultiPartException):
    """A body that does not come to its end. Of this kind, since Gradio then deletes what it has written of it."""


class _Body:
    """One body on its way; what the app would answer to one that is too large is not sent. `whole` is for what may end
    before its end."""

    def __init__(self, receive: Receive, send: Send, limit: int, *, whole: bool):
        self._receive, self._send, self._left, self._whole = receive, send, limit, whole
        self.over = self.broken = self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self._whole = self._whole or not message.get("more_body", False)
            self.over = self._left < 0
        if self.over or (message["type"] == "http.disconnect" and not self._whole):
            self.broken = True
            raise BrokenOff("the body is too large" if self.over else "the body was broken off")
        return message

    async def send(self, message: Message) -> None:
        if not self.over or self.answered:
            self.answered = True
            await self._send(message)


async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    # Who is cut off while sending never reads the answer.
    left, more = _DRAINED, True
    while more and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    words = f"this may have {limit:,} bytes and has more: send fewer or smaller files, or begin a new chat"
    await JSONResponse({"detail": words}, 413, {"Cache-Control": "no-store"})(scope, receive, send)
