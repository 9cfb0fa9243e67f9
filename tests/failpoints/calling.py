"""A client as a user writes it: what breaks off is asked again at another server, with the same Idempotency-Key."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from queuechat.protocol import Job, Sampling, new_id
from tests.failpoints.undisturbed import spell, undisturbed

_SEEDS = itertools.count(1)
_TIMEOUT = httpx.Timeout(10, read=60)


@dataclass(slots=True)
class Heard:
    """What one server has said of an answer. `done` is the last word, `error` the code of an error."""

    id: str = ""
    text: str = ""
    reasons: list[str] = field(default_factory=list)
    done: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One server-sent event of the native stream."""

    kind: str
    id: str
    body: dict[str, Any]


class Caller:
    """Asks for chat completions of one model."""

    def __init__(self, model: str):
        self.model = model
        self.http = httpx.AsyncClient(timeout=_TIMEOUT, limits=httpx.Limits(max_keepalive_connections=0))
        self.ids: set[str] = set()  # of all requests that were heard of

    async def rounds(self, servers: Sequence[str], until: Callable[[], bool], tokens: int) -> None:
        """A few at a time, one round after the other, until something has happened."""
        while not until():
            await asyncio.gather(*(self.ask(servers, tokens) for _ in range(3)))

    async def ask(self, servers: Sequence[str], tokens: int) -> None:
        """One full answer: from the first server that brings it to its end, each one beginning anew."""
        job = self.job(tokens)
        expected, key, had = spell((await undisturbed([job]))[0]), secrets.token_hex(8), ""
        for server in servers:
            heard = await self.try_once(server, job, key)
            self.ids |= {heard.id} - {""}
            assert heard.text.startswith(had) or had.startswith(heard.text)
            assert expected.startswith(heard.text)
            had = max(had, heard.text, key=len)
            if heard.done:
                assert (heard.text, heard.reasons, heard.done) == (expected, ["length"], 1)
                return
        raise AssertionError(f"none of {servers} has answered in full; the last one: {heard}")

    def job(self, tokens: int) -> Job:
        """What the API makes of our question, as far as the answer depends on it."""
        seed = next(_SEEDS)
        messages = [{"role": "user", "content": f"Tell me {seed}"}]
        return Job(new_id(), self.model, messages=messages, sampling=Sampling(seed=seed), max_tokens=tokens)

    def post(self, server: str, job: Job, key: str = "") -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        body = {"model": self.model, "messages": job.messages, "seed": job.sampling.seed}
        return self.http.stream(
            "POST",
            f"{server}/v1/chat/completions",
            json={**body, "max_tokens": job.max_tokens, "stream": True},
            headers={"Idempotency-Key": key} if key else {},
        )

    async def try_once(self, server: str, job: Job, key: str) -> Heard:
        """As far as this server brings it."""
        heard = Heard()
        with contextlib.suppress(httpx.TransportError):
            async with self.post(server, job, key) as response:
                heard.id = response.headers.get("x-queuechat-request-id", "")
                if response.status_code != 200:
                    heard.error = str(response.status_code)
                    return heard
                async for line in response.aiter_lines():
                    _hear(heard, line)
                # A stream that just stops would be taken for a full answer.
                assert heard.done or heard.error, "the stream ended in silence"
        return heard

    async def events(self, server: str, id: str, after: str = "0", *, leave_after: int = 0) -> list[Seen]:
        """The native stream from the event `after` on, as far as this server brings it."""
        seen: list[Seen] = []
        with contextlib.suppress(httpx.TransportError):
            async with self.http.stream(
                "GET", f"{server}/v1/requests/{id}/events", headers={"Last-Event-ID": after}
            ) as response:
                async for event in _events(response):
                    seen.append(event)
                    if len(seen) == leave_after:
                        break
        return seen


def _hear(heard: Heard, line: str) -> None:
    if not line.startswith("data: "):
        return
    assert not heard.done, f"after the end: {line}"
    if line == "data: [DONE]":
        heard.done += 1
        return
    frame = json.loads(line[6:])
    if "error" in frame:
        heard.error = frame["error"]["code"]
        return
    for choice in frame["choices"]:
        heard.text += choice["delta"].get("content") or ""
        heard.reasons += [choice["finish_reason"]] if choice["finish_reason"] else []


async def _events(response: httpx.Response) -> AsyncIterator[Seen]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif "data" in fields:
            yield Seen(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}
