"""A server of our own making, for what real ones seldom do: it answers each request with the next of its answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import orjson


def frame(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def delta(text: str, reason: str | None = None) -> bytes:
    return frame({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]})


USAGE = frame({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
DONE = b"data: [DONE]\n\n"
HELD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"  #: nothing follows, and the connection stays


def stream(*pieces: bytes, complete: bool = True) -> bytes:
    """A 200 with these pieces as HTTP chunks; incomplete: the connection ends where the next one was expected."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + body + (b"0\r\n\r\n" if complete else b"")


def refusal(status: str, error: object) -> bytes:
    body = orjson.dumps({"error": error})
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@contextlib.asynccontextmanager
async def answering(answers: Sequence[bytes]) -> AsyncIterator[str]:
    """Its URL. After the last answer it begins again; an incomplete or empty one closes the connection."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                answer = answers[served % len(answers)]
                served += 1
                writer.write(answer)
                await writer.drain()
                if answer != HELD and not answer.endswith(b"0\r\n\r\n") and b"content-length" not in answer:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
