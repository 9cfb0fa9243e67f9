"""A provider led by hand: an HTTP server on loopback that answers what the test says, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """`cut`: the connection ends with the body, which is then not whole. `hangs`: nothing more comes, and no end."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    hangs: bool = False


def refusing(status: int, message: str = "no", *, headers: Mapping[str, str] = {}, **error: object) -> Reply:
    """An error in OpenAI's form."""
    return Reply(status, headers, orjson.dumps({"error": {"message": message, **error}}))


def streaming(*events: object, done: bool = True, cut: bool = False) -> Reply:
    """Server-sent events."""
    frames = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
    return Reply(body=b"".join(frames) + (b"data: [DONE]\n\n" if done else b""), cut=cut)


def telling(*events: Mapping[str, Any], cut: bool = False) -> Reply:
    """Server-sent events with names, as Anthropic's."""
    frames = [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events]
    return Reply(body=b"".join(frames), cut=cut)


def saying(*texts: str, reason: str | None = "stop", usage: tuple[int, int] | None = (11, 5)) -> list[object]:
    """The chunks of a chat completion."""
    chunks: list[object] = [_chunk({"content": text}) for text in texts]
    if reason:
        chunks.append(_chunk({}, reason))
    if usage:
        told = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
        chunks.append(_head() | {"choices": [], "usage": told})
    return chunks


def delta(**fields: object) -> object:
    return _chunk(fields)


def _head() -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _chunk(delta: Mapping[str, object], reason: str | None = None) -> dict[str, Any]:
    return _head() | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


class Provider:
    """`replies` are given in turn, each request waits for one; `asked` are the requests that came."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.url = ""
        self._replies: deque[Reply] = deque()
        self._more = asyncio.Condition()

    async def reply(self, *replies: Reply) -> None:
        async with self._more:
            self._replies += replies
            self._more.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await _request(reader))
            async with self._more:
                await self._more.wait_for(lambda: self._replies)
                reply = self._replies.popleft()
            kind = "text/event-stream" if reply.body.startswith((b"data:", b"event:")) else "application/json"
            size = len(reply.body) + (100 if reply.cut or reply.hangs else 0)
            head = {"content-type": kind, "content-length": str(size), "connection": "close", **reply.headers}
            lines = [f"HTTP/1.1 {reply.status} Said", *(f"{name}: {value}" for name, value in head.items())]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
            await writer.drain()
            if reply.hangs:
                await reader.read()
        writer.close()


async def _request(reader: asyncio.StreamReader) -> Request:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(lines[0].split()[1], headers, orjson.loads(body))


@contextlib.asynccontextmanager
async def a_provider() -> AsyncIterator[Provider]:
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.close()
