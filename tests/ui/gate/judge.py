"""A service with OpenAI's /v1/moderations, on a port of its own, that flags what has "bomb" in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.conftest import free_port


class Judge:
    """`asked` is what it was sent; `mood` is how it answers: well, down, odd, short or never."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.mood = "well"
        self.url = ""

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers.get("authorization", ""))
        if self.mood == "down":
            return PlainTextResponse("overloaded: bomb", 503)
        if self.mood == "odd":
            return JSONResponse({"results": [{"flagged": "?"} for _ in body["input"]][:0] or "none"})
        if self.mood == "never":
            await asyncio.Event().wait()
        results = [self._result(given) for given in body["input"]]
        if self.mood == "short":
            results.pop()
        return JSONResponse({"id": "x", "model": body["model"], "results": results})

    @staticmethod
    def _result(given: str | dict[str, Any]) -> dict[str, Any]:
        flagged = "bomb" in given if isinstance(given, str) else "iVBOR" not in given["image_url"]["url"]
        score = 0.9 if flagged else 0.4
        return {"flagged": flagged, "categories": {"violence": flagged}, "category_scores": {"violence": score}}


@contextlib.asynccontextmanager
async def a_judge() -> AsyncIterator[Judge]:
    """One that answers until it is left."""
    judge, port = Judge(), free_port()
    app = Starlette(routes=[Route("/v1/moderations", judge.answer, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=0))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    judge.url = f"http://127.0.0.1:{port}/v1"
    yield judge
    server.should_exit = True
    await serving
