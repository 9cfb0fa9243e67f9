"""One HTTP request on one connection, read as it comes, with as little of Python in between as will do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Call:
    """An answer: `times` (time.time()) are of the pieces in which its body came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    times: list[float] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.headers.get("x-queuechat-request-id", "")

    @property
    def whole(self) -> bool:
        """Whether the stream came to its good end."""
        return self.status == 200 and b"data: [DONE]" in self.body[-64:]

    @property
    def text(self) -> str:
        """What the model said: the body with its framing taken off."""
        lines = bytes(self.body).replace(b"\r\n", b"\n").split(b"\n")
        frames = (json.loads(line[6:]) for line in lines if line.startswith(b"data: {"))
        return "".join(choice.get("text", "") for frame in frames for choice in frame.get("choices", []))


async def call(port: int, body: dict[str, object], *, pieces: int = 0, key: str = "none") -> Call:
    """POST /v1/completions; with `pieces` the connection is dropped as soon as so many have come."""
    got = Call()
    async with _connected(port) as (reader, writer):
        raw = json.dumps(body).encode()
        head = f"host: localhost\r\nauthorization: Bearer {key}\r\n"
        head += "connection: close\r\ncontent-type: application/json\r\n"
        writer.write(f"POST /v1/completions HTTP/1.1\r\n{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        got.status = int(lines[0].split()[1])
        got.headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        while piece := await reader.read(1 << 16):
            got.times.append(time.time())
            got.body += piece
            if pieces and len(got.times) >= pieces:
                break
    if "chunked" in got.headers.get("transfer-encoding", ""):
        got.body = _joined(got.body)
    return got


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        yield reader, writer
    finally:
        writer.close()


def _joined(chunked: bytearray) -> bytearray:
    """A chunked body (RFC 9112, 7.1) without its framing; the last chunk may be cut off."""
    out, at = bytearray(), 0
    while (end := chunked.find(b"\r\n", at)) > 0:
        size = int(chunked[at:end], 16)
        out += chunked[end + 2 : end + 2 + size]
        at = end + size + 4
    return out
