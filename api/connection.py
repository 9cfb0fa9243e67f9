"""A connection of a client, with an end to what never ends: heads that do not come or do not stop, bodies that nobody
reads any more. uvicorn has none of these limits.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from queuechat.dialects.problems import body_of, kind_of
from queuechat.errors import HeadTooLarge, InvalidRequest, QueuechatError, RequestTimeout
from queuechat.protocol import new_id

log = logging.getLogger(__name__)

HEAD_S = 20.0  #: for all of a request's head; Apache's time for it
LINGER_S = 5.0  #: after an early answer, for its reader to get it before the connection breaks
HEAD_BYTES = 16 << 10
HEADERS = 100
_SLACK = 4 << 10  # of spaces and line ends, that are no part of any header


class Connection(HttpToolsProtocol):
    """One at a time of: waiting for a head (`_late` runs), reading a body or answering, or lingering (`_late` runs)."""

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self._late: asyncio.TimerHandle | None = None
        self._begun = self._fresh = self._over = False
        self._bytes = self._headers = self._raw = 0
        self._fault: QueuechatError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._fresh = False
        super().data_received(data)
        if self._over or self.transport.is_closing():
            return
        if self._begun:
            # What came before the head in the same piece, as the body of the request before it, is not of it.
            self._raw += self._bytes if self._fresh else len(data)
            if self._raw > HEAD_BYTES + _SLACK:
                self._refuse(_too_large())
                return
        if self._late is None and (self._begun or self._answered):
            self._arm(HEAD_S)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = self._fresh = True
        self._bytes = self._headers = self._raw = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._headers += 1
        self._grow(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._begun = False
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle.response_complete:  # the answer was early, but its request has come to its end
            self.cycle.more_body = False
            self._disarm()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._arm(LINGER_S)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._fault or InvalidRequest("this is not a request of HTTP/1.1"))

    @property
    def _answered(self) -> bool:
        """Whether nothing is owed to the client."""
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _grow(self, size: int) -> None:
        """Raises in the middle of the parser, which makes a refusal of it."""
        self._bytes += size
        if self._bytes > HEAD_BYTES or self._headers > HEADERS:
            self._fault = _too_large()
            raise self._fault

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._late = self.loop.call_later(seconds, self._is_late)

    def _disarm(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None

    def _is_late(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if self.cycle and not self.cycle.response_complete:  # the next request must not end the answer of this one
            self._arm(HEAD_S)
        elif self._begun:
            self._refuse(RequestTimeout(f"the head of the request has not come within {HEAD_S:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: QueuechatError) -> None:
        """The last answer of a connection. What still comes is thrown away for a while: closing at once would take the
        answer out of the client's hands."""
        self._over = True
        self._disarm()
        self._unset_keepalive_if_required()
        if self.cycle and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        log.debug("refused a connection: %s", error.message)
        body = orjson.dumps(body_of(error))
        headers = {"content-type": "application/json", "content-length": len(body), "x-request-id": new_id()}
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self.transport.write(STATUS_LINE[kind_of(error).status] + lines + b"connection: close\r\n\r\n" + body)
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._late = self.loop.call_later(LINGER_S, self.transport.close)


def _too_large() -> QueuechatError:
    return HeadTooLarge(f"the head of a request has at most {HEAD_BYTES} bytes and {HEADERS} headers")
