"""A server that only streams: the frames of our API, with no Redis, no worker and no thought.

A frame has one token, or as many as the field `join` of the body says. What uvicorn can do at most on this machine, to
compare against. `python -m queuechat.bench.bare PORT`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

MODEL = "echo"
_WORDS = (b" queue", b" stream", b" token", b" worker", b" answer", b" river", b" stone", b" light")

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """POST /v1/chat/completions, streamed, and what a load generator asks before."""
    if scope["type"] != "http":
        return
    if scope["method"] == "GET":
        await _answer(send, orjson.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
        return
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = orjson.loads(body)
    await _stream(send, asked["max_tokens"], asked.get("join", 1))


async def _answer(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, count: int, join: int) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    base = {
        "id": "chatcmpl-" + "0" * 24,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": MODEL,
    }
    head, tail = _frame(base, {"content": "\ue000"}).split("\ue000".encode())
    await _part(send, _frame(base, {"role": "assistant", "content": ""}))
    words = [_WORDS[place % len(_WORDS)] for place in range(count)]
    for place in range(0, count, join):
        await _part(send, head + b"".join(words[place : place + join]) + tail)
        await asyncio.sleep(0)  # frames come one by one, and to all streams in turn
    usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
    last = _frame(base, {}, "length") + b"data: " + orjson.dumps(base | {"choices": [], "usage": usage}) + b"\n\n"
    await _part(send, last + b"data: [DONE]\n\n")
    await send({"type": "http.response.body", "body": b""})


async def _part(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _frame(base: dict[str, Any], delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return b"data: " + orjson.dumps(base | {"choices": [choice], "usage": None}) + b"\n\n"


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="error",
    )  # fmt: skip
