"""A reader that comes when all is over finds all of it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.client import Answer, Client
from queuechat.protocol import Chunk, End, Job, Sampling, new_id
from tests.chaos import books
from tests.chaos.fleet import Fleet
from tests.chaos.history import History, Request
from tests.chaos.questions import Catalogue

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")

TOKENS = 4000  # more events than are kept for a reader


async def state_of(bus: Bus, fleet: Fleet, id: str) -> tuple[str, int]:
    (seen,) = await bus.watch(fleet.model, [id])
    return seen.state, seen.next


async def read_all(answer: Answer, request: Request) -> None:
    reading = request.read(answer.id)
    while events := await answer.take():
        for _, event in events:
            if isinstance(event, Chunk):
                reading.hear(event.text, event.offset, event.ids)
            elif isinstance(event, End):
                reading.end(event.reason, event.text, event.offset)


async def test_who_reads_nothing_until_the_end_misses_nothing_though_the_engine_was_killed(tmp_path: Path) -> None:
    catalogue = await Catalogue.write(random.Random(1), topics=1, longest=TOKENS)
    history = History(catalogue)
    async with Fleet(tmp_path, workers=1, rate=1000) as fleet, Client(fleet.bus) as client:
        request = history.begin(catalogue.draw(random.Random(1), TOKENS, TOKENS), "slow")
        question = request.question
        sampling = Sampling(seed=question.seed)
        job = Job(new_id(), fleet.model, prompt=question.prompt, sampling=sampling, max_tokens=TOKENS)
        answer = await client.submit([job])
        while (await state_of(fleet.bus, fleet, job.id))[1] < TOKENS // 4:
            await asyncio.sleep(0.02)
        fleet.workers[0].kill_child()
        while (await state_of(fleet.bus, fleet, job.id))[0] in ("waiting", "running"):
            await asyncio.sleep(0.05)
        await read_all(answer, request)
        history.settle(request)
        await answer.close()
        assert history.faults() == []
        assert await books.audit(fleet.bus, fleet.model, history.billed) == []
