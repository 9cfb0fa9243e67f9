"""Who asks in a storm: closed loops, each with one request at a time, that go on while there is hope."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from queuechat.client import Answer, Client
from queuechat.errors import QueuechatError
from queuechat.protocol import Chunk, End, Job, PrefixHash, Sampling, new_id
from tests.chaos.history import History, Request
from tests.chaos.questions import Catalogue

PATIENCE_S = 120.0  # a request of which nothing is heard for so long counts as lost


class GaveUp(Exception):
    """Asking again would not help."""


class Asker(Protocol):
    """Brings one request to its end and writes down all that it hears; it may be used by many loops."""

    name: str

    def answer(self, request: Request) -> Coroutine[Any, Any, None]:
        """Returns when the request has ended; raises GaveUp when it never will."""


def heed(error: QueuechatError, request: Request) -> None:
    """Note an error that a retry may cure; raises GaveUp for any other."""
    if not error.retryable:
        raise GaveUp(f"{error.code}: {error}") from error
    request.tries[error.code] += 1


class ByClient:
    """As API and UI do: token by token, under an idempotency key, reading on after what broke off.

    `restless` is the chance that it leaves after an event and comes back.
    """

    name = "client"

    def __init__(self, client: Client, model: str, rng: random.Random, *, restless: float = 0.0):
        self._client, self._model, self._rng, self._restless = client, model, rng, restless

    async def answer(self, request: Request) -> None:
        answer = await self._open(request, lambda: self._submit(request))
        while not await self._read(answer, request):
            answer = await self._open(request, lambda: self._reopen(request))

    async def _submit(self, request: Request) -> Answer:
        question = request.question
        sampling = Sampling(seed=question.seed)
        job = Job(new_id(), self._model, prompt=question.prompt, sampling=sampling, max_tokens=question.tokens)
        return await self._client.submit([job], idem=(request.key, "the same each time"))

    async def _reopen(self, request: Request) -> Answer:
        ids = request.ids
        digest = PrefixHash().update(ids) if ids else ""
        return await self._client.reopen(self._model, request.jobs[0], len(ids), digest)

    async def _open(self, request: Request, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        while True:
            try:
                answer = await ask()
            except QueuechatError as error:
                heed(error, request)
                await asyncio.sleep(0.1)
            else:
                request.tries["replayed"] += answer.replayed
                return answer

    async def _read(self, answer: Answer, request: Request) -> bool:
        """Until it ends, breaks off or bores us; answers whether it has ended."""
        reading = request.read(answer.id, answer.cursors[0].next)
        try:
            while events := await answer.take():
                for _, event in events:
                    if isinstance(event, Chunk):
                        reading.hear(event.text, event.offset, event.ids)
                    elif isinstance(event, End):
                        reading.end(_reason(event), event.text, event.offset)
                if reading.next and not reading.endings and self._rng.random() < self._restless:
                    request.tries["left"] += 1
                    return False
        except QueuechatError as error:
            heed(error, request)
            return False
        finally:
            await answer.close()
        return True


def _reason(end: End) -> str:
    return f"{end.reason} ({end.error.code}: {end.error.message})" if end.error else end.reason.value


class Load:
    """`streams` loops that share the askers; `run` returns when `enough` says so and the last answers are in."""

    def __init__(
        self,
        history: History,
        catalogue: Catalogue,
        rng: random.Random,
        askers: Sequence[Asker],
        *,
        streams: int,
        tokens: tuple[int, int],
    ):
        self._history, self._catalogue, self._rng = history, catalogue, rng
        self._askers, self._streams, self._tokens = askers, streams, tokens
        self.begun = 0

    async def run(self, enough: Callable[[], bool]) -> None:
        async with asyncio.TaskGroup() as group:
            for k in range(self._streams):
                group.create_task(self._loop(self._askers[k % len(self._askers)], enough))

    async def _loop(self, asker: Asker, enough: Callable[[], bool]) -> None:
        while not enough():
            self.begun += 1
            request = self._history.begin(self._catalogue.draw(self._rng, *self._tokens), asker.name)
            try:
                await _while_there_is_news(request, asker.answer(request))
            except GaveUp as error:
                request.lost = str(error)
            self._history.settle(request)


async def _while_there_is_news(request: Request, answering: Coroutine[Any, Any, None]) -> None:
    task, heard = asyncio.create_task(answering), -1
    try:
        while not task.done():
            now = sum(len(reading.pieces) for reading in request.readings)
            if now == heard:
                raise GaveUp(f"not a word for {PATIENCE_S:.0f} s")
            heard = now
            await asyncio.wait({task}, timeout=PATIENCE_S)
        task.result()
    finally:
        if task.cancel():
            with contextlib.suppress(asyncio.CancelledError):
                await task
