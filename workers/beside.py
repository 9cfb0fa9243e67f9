"""What a worker does beside its engine's batch: embeddings, prompts that are only read, and how likely a prompt is
before it is answered. Each is a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar, cast

from queuechat.errors import EngineDied, QueuechatError
from queuechat.protocol import Logprob
from workers.engines.base import Engine, Scorer
from workers.passing import in_passing
from workers.prompting import Speech, is_short
from workers.running import Embedding, Generation, Reading

T = TypeVar("T")
Aside = Embedding | Reading | Generation

log = logging.getLogger(__name__)

MAX_READINGS = 16  #: held at a time; most are done in milliseconds
_EMBED_BATCH = 16
_LONG = 20_000  # characters of a prompt that takes long to read
_READERS = 2  # one for what takes long, so that the other is there for the rest


class Beside:
    """It has threads of its own, so that what takes long keeps no new job waiting.

    `progressed` is told of every step of something held, `scored` of a generation that may be answered now, and `died`
    when the engine is no more.
    """

    def __init__(
        self,
        engine: Engine,
        speech: Speech,
        progressed: Callable[[Aside], None],
        scored: Callable[[Generation], None],
        died: Callable[[EngineDied], None],
    ):
        self._engine, self._speech = engine, speech
        self._progressed, self._scored, self._died = progressed, scored, died
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reading")
        self._long = asyncio.Lock()
        self._computing = asyncio.Lock()  # the engine does one after the other
        self._last_score: tuple[Sequence[int], int, list[Logprob]] = ((), 0, [])

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, held: Aside) -> None:
        task = asyncio.create_task(self._run(held), name=f"beside {held.claim.job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _run(self, held: Aside) -> None:
        try:
            match held:
                case Embedding():
                    await self._embed(held)
                case Reading():
                    await self._read(held)
                case Generation():
                    await self._score(held)
        except EngineDied as error:
            self._died(error)
        except QueuechatError as error:
            held.fail(error)
        except Exception as error:  # one request's inputs must not cost the others their worker
            log.exception("request %s failed", held.claim.job.id)
            held.fail(QueuechatError(f"the engine failed on this request ({type(error).__name__})"))
        self._progressed(held)

    async def _embed(self, held: Embedding) -> None:
        inputs = held.inputs
        for at in range(held.offset, len(inputs), _EMBED_BATCH):
            if held.over:
                return
            held.add(await self._compute(self._engine.embed, inputs[at : at + _EMBED_BATCH]))
            self._progressed(held)
        held.finished()

    async def _read(self, held: Reading) -> None:
        job = held.claim.job
        async with nullcontext() if is_short(job, _LONG) else self._long:
            if not held.over:
                held.add(await asyncio.get_running_loop().run_in_executor(self._readers, self._speech.read, job))
        held.finished()

    async def _score(self, held: Generation) -> None:
        alternatives = held.claim.job.prompt_logprobs or 0
        held.scored(await self._compute(self._score_of, held.prompt.prompt_ids, alternatives))
        self._scored(held)

    async def _compute(self, work: Callable[..., T], *args: object) -> T:
        async with self._computing:
            return await in_passing(work, *args)

    def _score_of(self, ids: Sequence[int], alternatives: int) -> list[Logprob]:
        """Never twice at a time. The choices of a request come one after the other, with the same prompt."""
        if self._last_score[:2] != (ids, alternatives):
            self._last_score = (ids, alternatives, cast(Scorer, self._engine).score(ids, alternatives))
        return self._last_score[2]
