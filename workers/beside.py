"""What a worker does beside its engine's batch: embeddings and prompts that are only read, each a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from queuechat.errors import EngineDied, QueuechatError
from workers.engines.base import Engine
from workers.prompting import Speech
from workers.running import Embedding, Reading

log = logging.getLogger(__name__)

MAX_READINGS = 16  #: at a time; they are done in milliseconds
_EMBED_BATCH = 16


class Beside:
    """`progressed` is told of every step of something held, `died` when the engine is no more."""

    def __init__(
        self,
        engine: Engine,
        speech: Speech,
        progressed: Callable[[Embedding | Reading], None],
        died: Callable[[EngineDied], None],
    ):
        self._engine, self._speech, self._progressed, self._died = engine, speech, progressed, died
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, held: Embedding | Reading) -> None:
        task = asyncio.create_task(self._run(held), name=f"beside {held.claim.job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, held: Embedding | Reading) -> None:
        try:
            await (self._embed(held) if isinstance(held, Embedding) else self._read(held))
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
            held.add(await asyncio.to_thread(self._engine.embed, inputs[at : at + _EMBED_BATCH]))
            self._progressed(held)
        held.finished()

    async def _read(self, held: Reading) -> None:
        held.add(await asyncio.to_thread(self._speech.read, held.claim.job))
        held.finished()
