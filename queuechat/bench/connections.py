"""HTTP to one server: connections that stay open, answers that are handed on the moment they come."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from queuechat.errors import InvalidRequest
from queuechat.masking import without_secrets

clock = time.perf_counter


class Answer(Protocol):
    """Who hears an answer."""

    def begin(self, status: int) -> None: ...
    def feed(self, data: bytes, at: float) -> None: ...


class Broken(ConnectionError):
    """The connection ended before the answer did. `unheard`: not a byte of it had come."""

    def __init__(self, unheard: bool):
        super().__init__("the connection broke off")
        self.unheard = unheard


class Server:
    """Connections to one origin; `url` may have a path, which goes before those of the requests."""

    def __init__(self, url: str):
        """Raises InvalidRequest when it is no http(s) URL."""
        refusal = InvalidRequest(
            f"{without_secrets(url)!r} is no address of a server: use http://HOST:PORT", param="url"
        )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise refusal from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise refusal
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        self._port = port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._name = parts.netloc.rpartition("@")[2]
        self._idle: list[_Connection] = []

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes, answer: Answer) -> None:
        """Send a request and return when its answer is over.

        Raises:
            OSError: no connection, or it broke off.
        """
        fields = {"Host": self._name, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {self._path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        request = "\r\n".join([*lines, "", ""]).encode() + body
        while self._idle:
            connection = self._idle.pop()
            try:
                if connection.open:
                    return await self._on(connection, request, answer)
            except Broken as broken:  # it was closed while it was idle: nothing was read of the request
                if not broken.unheard:
                    raise
        return await self._on(await self._connect(), request, answer)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls or None))[1]

    async def _on(self, connection: _Connection, request: bytes, answer: Answer) -> None:
        try:
            await connection.exchange(request, answer)
        except BaseException:
            connection.close()
            raise
        if connection.open:
            self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


class _Connection(asyncio.Protocol):
    # A protocol instead of a client library: aiohttp wakes a task for each chunk, and its queueing would be in the
    # figures (docs/benchmark.md tells how much).
    open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by shape only.
        self._transport, self.open = cast(asyncio.Transport, transport), True
        self._over: asyncio.Future[None] | None = None

    async def exchange(self, request: bytes, answer: Answer) -> None:
        self._over = asyncio.get_running_loop().create_future()
        self._parser, self._answer = httptools.HttpResponseParser(self), answer
        self._heard = False
        self._transport.write(request)
        await self._over

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._at, self._heard = clock(), True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
            self._settle(ConnectionError("the answer is not HTTP"))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._settle(Broken(unheard=not self._heard) if self._over else None)

    def on_headers_complete(self) -> None:
        self._answer.begin(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        self._answer.feed(body, self._at)

    def on_message_complete(self) -> None:
        self.open = self.open and self._parser.should_keep_alive()
        if not self.open:
            self._transport.close()
        self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        if self._over and not self._over.done():
            self._over.set_exception(error) if error else self._over.set_result(None)
