"""Bytes to a server as they are, and what comes back: for what no HTTP client would send."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import orjson


@dataclass
class Reply:
    """The first answer on a connection; status 0 when it was closed without one. `rest` is what followed it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    rest: bytes = b""

    @property
    def code(self) -> str:
        """Of the error that it tells, in our shape."""
        told = orjson.loads(self.body)
        assert set(told) == {"error", "object", "message", "code"}, self.body
        assert set(told["error"]) == {"message", "type", "param", "code"}
        assert self.headers["x-request-id"]
        return str(told["error"]["code"])


async def tell(port: int, *pieces: bytes, pause_s: float = 0) -> Reply:
    """Write the pieces to a connection of its own and read until the server ends it, or has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writing = asyncio.create_task(_write(writer, pieces, pause_s))
    try:
        async with asyncio.timeout(60):
            return await _read(reader)
    finally:
        writing.cancel()
        writer.close()


async def _write(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...], pause_s: float) -> None:
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)


async def _read(reader: asyncio.StreamReader) -> Reply:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Reply()
    status, *lines = head.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    reply = Reply(int(status.split()[1]), {name.lower(): value for name, _, value in pairs})
    reply.body = await reader.readexactly(int(reply.headers.get("content-length", 0)))
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.2 if reply.headers.get("connection") != "close" else 10):
            while piece := await reader.read(1 << 16):
                reply.rest += piece
    return reply


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    """A request with a body, and its true length unless the headers tell of another."""
    lines = [f"POST {path} HTTP/1.1".encode(), b"host: x", *headers]
    if not any(h.lower().startswith((b"content-length", b"transfer-encoding")) for h in headers):
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


def get(path: bytes, *headers: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([method + b" " + path + b" " + version, b"host: x", *headers, b"", b""])
