"""Jobs through the client that API and UI use, each compared with its undisturbed answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from queuechat.client import Client, Event, Waiting
from queuechat.protocol import Chunk, End, Job, Reason, Sampling, new_id
from tests.failpoints.undisturbed import spell, undisturbed

_SEEDS = itertools.count(1)


class Asker:
    """Asks for one model, and keeps the ids of what it has asked."""

    def __init__(self, client: Client, model: str):
        self._client, self.model = client, model
        self.asked: list[str] = []

    def job(self, prompt: str, tokens: int) -> Job:
        seed = next(_SEEDS)
        return Job(new_id(), self.model, prompt=f"{prompt} {seed}", sampling=Sampling(seed=seed), max_tokens=tokens)

    async def round(self, number: int, tokens: int) -> None:
        """Some jobs at a time, all answered in full."""
        await self.all([self.job("Tell me", tokens) for _ in range(number)])

    async def rounds(self, until: Callable[[], bool], *, tokens: int = 60) -> None:
        """One round after the other, until something has happened."""
        while not until():
            await self.round(6, tokens)

    async def all(self, jobs: Sequence[Job]) -> None:
        """Every one of them is answered in full."""
        self.asked += [job.id for job in jobs]
        expected = await undisturbed(jobs)
        heard = await asyncio.gather(*(self._hear(job) for job in jobs))
        for job, ids, events in zip(jobs, expected, heard, strict=True):
            check(events, ids)
            check([event async for event in self._client.resume(self.model, job.id)], ids)

    async def _hear(self, job: Job) -> list[Event]:
        return [event async for event in self._client.ask(job)]


def check(events: Sequence[Event], ids: Sequence[int]) -> None:
    """A full answer: contiguous, the very tokens, one end."""
    chunks = [event for event in events if isinstance(event, Chunk)]
    assert [chunk.offset for chunk in chunks] == [0, *itertools.accumulate(chunk.count for chunk in chunks)][:-1]
    assert [id for chunk in chunks for id in chunk.ids] == list(ids)
    (end,) = (event for event in events if isinstance(event, End))
    assert (end.reason, end.offset, end.error) == (Reason.LENGTH, len(ids), None)
    assert not isinstance(events[-1], Chunk | Waiting)
    assert "".join(chunk.text for chunk in chunks) + end.text == spell(ids)
