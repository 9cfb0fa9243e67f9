"""Who asks over HTTP: any of several API servers, and another one when that fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import orjson

from queuechat.wire import from_wire
from tests.chaos.history import Reading, Request
from tests.chaos.load import GaveUp, heed

_TIMEOUT = httpx.Timeout(10, read=30)  # servers say at least a comment each 10 s


class Interrupted(Exception):
    """Ask again, maybe another server."""


def caller() -> httpx.AsyncClient:
    """What all askers of a run share."""
    return httpx.AsyncClient(timeout=_TIMEOUT, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0))


class _OverHttp:
    def __init__(self, http: httpx.AsyncClient, servers: Sequence[str], model: str, rng: random.Random):
        self._http, self._servers, self._model, self._rng = http, servers, model, rng

    async def answer(self, request: Request) -> None:
        while True:
            try:
                await self._try(request, self._rng.choice(self._servers))
            except Interrupted:
                pass
            except httpx.TransportError as error:
                request.tries[type(error).__name__] += 1
            else:
                return
            await asyncio.sleep(0.1)

    async def _try(self, request: Request, server: str) -> None:
        raise NotImplementedError

    def _post(self, request: Request, server: str) -> Any:
        question = request.question
        body = {"model": self._model, "prompt": question.prompt, "seed": question.seed, "max_tokens": question.tokens}
        return self._http.stream(
            "POST",
            f"{server}/v1/completions",
            json={**body, "stream": True},
            headers={"Idempotency-Key": request.key},
        )


class ByPost(_OverHttp):
    """OpenAI's stream. What breaks off is posted again with the same Idempotency-Key and read from the beginning."""

    name = "post"

    async def _try(self, request: Request, server: str) -> None:
        async with self._post(request, server) as response:
            await _expect_success(response, request)
            request.tries["replayed"] += response.headers.get("idempotency-replayed") == "true"
            reading = request.read(response.headers["x-queuechat-request-id"])
            reason = ""
            async for _, data in _events(response):
                if data == "[DONE]":
                    reading.end(reason)
                    return
                reason = _hear(reading, _checked(data, request)) or reason
        raise GaveUp(f"the stream ended in silence after {len(reading.pieces)} pieces")


def _hear(reading: Reading, frame: dict[str, Any]) -> str:
    """Take in one frame; answers the finish_reason if it brings one."""
    (choice,) = frame["choices"]
    if choice["text"]:
        reading.hear(choice["text"])
    return choice["finish_reason"] or ""


class ByEvents(_OverHttp):
    """The native stream: posts, leaves at once, and reads the events; goes on after the last one that it has seen.

    `restless` is the chance that it leaves after an event and comes back.
    """

    name = "events"

    def __init__(
        self, http: httpx.AsyncClient, servers: Sequence[str], model: str, rng: random.Random, *, restless: float = 0.0
    ):
        super().__init__(http, servers, model, rng)
        self._restless = restless
        self._places: dict[str, tuple[str, str]] = {}  # by request: its id and that of the last event

    async def _try(self, request: Request, server: str) -> None:
        if request.key not in self._places:
            async with self._post(request, server) as response:
                await _expect_success(response, request)
                self._places[request.key] = response.headers["x-queuechat-request-id"], "0"
        id, last = self._places[request.key]
        by_header = self._rng.random() < 0.5
        async with self._http.stream(
            "GET",
            f"{server}/v1/requests/{id}/events",
            params={} if by_header else {"starting_after": last},
            headers={"Last-Event-ID": last} if by_header else {},
        ) as response:
            await _expect_success(response, request)
            reading = request.read(id, int(last.partition(".")[0]))
            await self._read(response, request, reading)
        if not reading.endings:
            raise GaveUp(f"the events ended in silence after {len(reading.pieces)} pieces")
        del self._places[request.key]

    async def _read(self, response: httpx.Response, request: Request, reading: Reading) -> None:
        async for fields, data in _events(response):
            body = _checked(data, request)
            if fields["event"] == "chunk":
                reading.hear(body["text"], body["offset"], body["ids"])
                self._places[request.key] = reading.job, fields["id"]
                if self._rng.random() < self._restless:
                    request.tries["left"] += 1
                    raise Interrupted
            elif fields["event"] == "end":
                reading.end(body["reason"], body["text"], body["offset"])


async def _expect_success(response: httpx.Response, request: Request) -> None:
    if response.status_code != 200:
        _checked((await response.aread()).decode(), request)
        raise GaveUp(f"status {response.status_code}: {response.text[:200]}")


def _checked(data: str, request: Request) -> dict[str, Any]:
    """A body that is no error; one that a retry may cure interrupts."""
    try:
        body: dict[str, Any] = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise GaveUp(f"not JSON: {data[:200]!r}") from None
    if body.get("error"):
        error = body["error"]
        heed(from_wire(error["code"], error["message"]), request)
        raise Interrupted
    return body


async def _events(response: httpx.Response) -> AsyncIterator[tuple[dict[str, str], str]]:
    """Server-sent events: their fields, and their data."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif "data" in fields:
            yield fields, fields["data"]
            fields = {}
