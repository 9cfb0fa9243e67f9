"""A real model under SIGKILL: seeded answers of the transformers engine, torn from worker to worker."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from queuechat.client import Client
from queuechat.protocol import Chunk, End, Job, Reason, Sampling, WorkerCard, new_id
from tests.processes import census_when
from tests.service.site import MODEL, Site, site

TOKENS, STREAMS = 40, 6
_WAYS = {
    "greedy": Sampling(temperature=0),
    "T=0.8": Sampling(temperature=0.8),
    "top-p": Sampling(temperature=0.9, top_p=0.9),
    "penalties": Sampling(temperature=0.8, presence_penalty=0.6, frequency_penalty=0.4, repetition_penalty=1.2),
}
_TOPICS = "a river in autumn; the planets; tea and coffee; a lighthouse; how bees fly; the number seven; a fox; rain"


@dataclass(frozen=True)
class _Answer:
    ids: list[int]
    text: str
    reason: Reason


async def real(folder: Path, seed: int, kills: int) -> tuple[dict[str, Any], list[str]]:
    """Two workers with the small real model in float32; whichever is in the middle of something is killed, again and
    again. Every answer is compared with the undisturbed one: ids, text and finish reason."""
    rng = random.Random(seed)
    async with site(folder) as here, Client(here.bus) as client:
        for _ in range(2):
            options = ("--engine", "transformers", "--dtype", "float32", "--max-context", "512", "--threads", "1")
            await here.workers.start("smollm2", MODEL, *options)
        questions = [(way, topic.strip(), k) for way in _WAYS for topic in _TOPICS.split(";") for k in range(1)]
        expected = dict(zip(questions, await _all(client, questions), strict=True))
        storm = _Storm(here, client, rng, expected)
        await storm.rage(kills)
    figures = {
        "kills": storm.kills,
        "answers": sum(storm.cut.values()),
        "tokens": storm.tokens,
        "answers_by_owners": {str(owners): n for owners, n in sorted(storm.cut.items())},
        "bit_equal": sum(storm.cut.values()) - len(storm.faults),
        "undisturbed_tokens_median": statistics.median(len(one.ids) for one in expected.values()),
    }
    return figures, storm.faults


async def _all(client: Client, questions: list[tuple[str, str, int]]) -> list[_Answer]:
    places = asyncio.Semaphore(STREAMS)

    async def one(question: tuple[str, str, int]) -> _Answer:
        async with places:
            return await _ask(client, _job(question))

    return await asyncio.gather(*map(one, questions))


def _job(question: tuple[str, str, int]) -> Job:
    way, topic, k = question
    sampling = _WAYS[way]
    messages = [{"role": "user", "content": f"Tell me about {topic}."}]
    seeded = Sampling(**{**{f: getattr(sampling, f) for f in sampling.__slots__}, "seed": 1000 + k})
    return Job(new_id(), MODEL, messages=messages, sampling=seeded, max_tokens=TOKENS)


async def _ask(client: Client, job: Job) -> _Answer:
    ids: list[int] = []
    text = ""
    async for event in client.ask(job):
        if isinstance(event, Chunk):
            ids, text = ids + event.ids, text + event.text
        elif isinstance(event, End):
            return _Answer(ids, text + event.text, event.reason)
    raise AssertionError("a stream without an end")


def _busy(worker: WorkerCard, tokens: int) -> bool:
    """Whether it answers somebody, and has said so much since it came up."""
    return worker.state == "ready" and worker.running > 0 and worker.tokens >= tokens


class _Storm:
    def __init__(self, here: Site, client: Client, rng: random.Random, expected: dict[tuple[str, str, int], _Answer]):
        self._here, self._client, self._rng, self._expected = here, client, rng, expected
        self.kills = 0
        self.tokens = 0
        self.cut: Counter[int] = Counter()  # answers by how many owners they had
        self.faults: list[str] = []
        self._over = False

    async def rage(self, kills: int) -> None:
        asking = [asyncio.create_task(self._keep_asking()) for _ in range(STREAMS)]
        while self.kills < kills:
            said = self._rng.randint(1, 60)
            census = await census_when(self._here.bus, lambda c, said=said: any(_busy(w, said) for w in c.workers))  # type: ignore[misc]
            victim = next(w for w in census.workers if _busy(w, said))
            os.kill(victim.pid, signal.SIGKILL)
            self.kills += 1
            await census_when(self._here.bus, lambda c, dead=victim.pid: all(w.pid != dead for w in c.workers))  # type: ignore[misc]
        self._over = True
        await asyncio.gather(*asking)

    async def _keep_asking(self) -> None:
        while not self._over:
            question = self._rng.choice(list(self._expected))
            job, expected = _job(question), self._expected[question]
            got = await _ask(self._client, job)
            owners = await self._here.bus.connection.command("HGET", f"qc:{{{MODEL}}}:job:{job.id}", "epoch")
            self.cut[int(owners)] += 1
            self.tokens += len(got.ids)
            if got != expected:
                self.faults.append(
                    f"{question}, {int(owners)} owners: {got.text[-80:]!r} is not {expected.text[-80:]!r}"
                )
