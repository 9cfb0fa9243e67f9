"""Models that read images, under transformers: each sequence has its own cache, and a step gives one token to each.

There is no continuous batching of images in transformers. A thread runs the model, one sequence after the other, so
that what is said depends on nobody else; all bookkeeping happens on the event loop, so nothing here needs a lock.
A step is one sequence's, and one of no events says that the model still reads.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from queuechat.errors import ContextLengthExceeded, EngineDied, InvalidRequest, QueuechatError, UnsupportedParameter
from queuechat.protocol import Logprob
from workers.engines.base import Caps, Finished, Prompt, Step, Tokens, Vocabulary, refuse_beyond, refuse_unknown
from workers.engines.batch_manager import compiler_of
from workers.engines.batch_router import NO_NUMBERS
from workers.engines.batch_sequence import logprob_of
from workers.engines.constraint import KINDS, Compiler
from workers.engines.hf_model import computes
from workers.engines.pulse import feel
from workers.engines.vision_model import load_seeing
from workers.engines.vision_reading import NoNumbers, Reading
from workers.engines.weights import Keeping
from workers.sampling import refuse_unusable

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 30.0
RUNNING = {"cpu": 4}  # by device, where nobody says otherwise
RUNNING_ELSEWHERE = 8


class VisionEngine:
    """See `workers.engines.base.Engine`. `source` is a folder or a Hub id."""

    caps: Caps
    vocabulary: Vocabulary

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_running: int | None = None,
        revision: str | None = None,
        max_context: int | None = None,
        threads: int | None = None,
        keeping: Keeping | None = None,
    ):
        options = {"device": device, "dtype": dtype, "threads": threads, "keeping": keeping}
        self._load = partial(load_seeing, source, revision, **options)
        self._max_running, self._max_context = max_running, max_context
        self._model: Any = None
        self._vocab_size = 0
        self._compiler: Compiler | None = None
        self._compiling: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps: asyncio.Queue[Step | None] = asyncio.Queue()
        self._waiting: queue.SimpleQueue[Reading | None] = queue.SimpleQueue()  # None: stop
        self._sequences: dict[str, Reading | None] = {}  # None: its grammar is being compiled
        self._thread = threading.Thread(target=self._work, name="vision engine", daemon=True)
        self._dead = "it was not started"
        self._over = False

    def start(self) -> None:
        loaded, self.vocabulary = self._load()
        self._model, self._vocab_size = loaded.model, int(loaded.text_config.vocab_size)
        if not computes(self._model):
            raise EngineDied(NO_NUMBERS)
        self._compiler = compiler_of(replace(loaded, vocabulary=self.vocabulary))
        feel(self._model, lambda: self._post(self._steps.put_nowait, []))
        self.caps = Caps(
            min(self._max_context or loaded.context_length, loaded.context_length),
            self._max_running or RUNNING.get(loaded.device, RUNNING_ELSEWHERE),
            "exact" if loaded.exact else "distribution",
            False,
            loaded.device,
            grammars=KINDS if self._compiler and self.vocabulary.eos_ids else frozenset(),
            logprobs=self._compiler is not None,
            vision=True,
            quantization=loaded.quantization,
        )
        self._dead = ""
        self._thread.start()

    def admit(self, prompt: Prompt) -> None:
        self._bind()
        if self._dead:
            raise EngineDied(f"the vision engine does not run: {self._dead}")
        if prompt.id in self._sequences:
            raise InvalidRequest(f"{prompt.id} is running already", param="id")
        refuse_beyond(prompt, self.caps)
        refuse_unusable(prompt.sampling, self._vocab_size)
        self._check_ids(prompt)
        if prompt.grammar is not None:
            prompt = replace(prompt, stop_ids=prompt.stop_ids | self.vocabulary.eos_ids)
        prompt = replace(prompt, max_new=min(prompt.max_new, self.caps.context_length - len(prompt.prompt_ids)))
        if prompt.prefix_ids and prompt.prefix_ids[-1] in prompt.stop_ids:
            self._steps.put_nowait([Finished(prompt.id, "stop")])
        elif len(prompt.prefix_ids) >= prompt.max_new:
            self._steps.put_nowait([Finished(prompt.id, "length")])
        elif prompt.grammar is None:
            self._begin(prompt)
        else:
            self._sequences[prompt.id] = None
            task = asyncio.get_running_loop().create_task(self._compile(prompt), name=f"grammar of {prompt.id}")
            self._compiling.add(task)
            task.add_done_callback(self._compiling.discard)

    def abort(self, id: str) -> None:
        if id not in self._sequences:
            return
        reading = self._sequences.pop(id)
        if reading is not None:
            reading.gone = True
        self._steps.put_nowait([Finished(id, "cancelled")])

    async def steps(self) -> AsyncIterator[Step]:
        self._bind()
        while (step := await self._steps.get()) is not None:
            yield step

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        raise UnsupportedParameter("a model that reads images gives no embeddings here", param="input")

    def running(self) -> int:
        return len(self._sequences)

    def close(self) -> None:
        self._dead = self._dead or "it was closed"
        if self._compiler is not None:
            self._compiler.close()
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(CLOSE_TIMEOUT_S)
        self._model = None
        gc.collect()

    # -- on the event loop ---------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            if self._over:
                self._end_all()

    def _check_ids(self, prompt: Prompt) -> None:
        if not prompt.prompt_ids:
            raise InvalidRequest("an input needs at least one token", param="prompt")
        if prompt.sight is None:  # else the processor has made them, and it may use ids beyond the vocabulary
            refuse_unknown(prompt.prompt_ids, self._vocab_size, param="prompt")
        refuse_unknown(prompt.prefix_ids, self._vocab_size, param="prompt")
        if len(prompt.prompt_ids) > self.caps.context_length:
            raise ContextLengthExceeded(
                f"{len(prompt.prompt_ids)} tokens, and the context holds {self.caps.context_length}", param="prompt"
            )

    def _begin(self, prompt: Prompt, matcher: Any = None) -> None:
        reading = Reading(self._model, prompt, matcher)
        self._sequences[prompt.id] = reading
        self._waiting.put(reading)

    async def _compile(self, prompt: Prompt) -> None:
        assert self._compiler is not None
        assert prompt.grammar is not None
        try:
            matcher = await self._compiler.matcher(prompt.grammar)
            if prompt.id in self._sequences:  # else it was aborted since
                self._begin(prompt, matcher)
        except QueuechatError as error:
            end = _failed(prompt.id, error)
        except Exception as error:  # a grammar must not cost the others their engine, nor its sequence its end
            log.exception("the grammar of %s cannot be compiled", prompt.id)
            end = Finished(prompt.id, "error", f"this grammar fails ({error})", param="response_format")
        else:
            return
        if prompt.id in self._sequences:
            del self._sequences[prompt.id]
            self._steps.put_nowait([end])

    def _take(self, reading: Reading, step: Step) -> None:
        if reading.gone:
            return
        if isinstance(step[-1], Finished):
            self._sequences.pop(reading.prompt.id, None)
        self._steps.put_nowait(step)

    def _end_all(self) -> None:
        ends: Step = [Finished(id, "error", f"the engine died: {self._dead}", True) for id in self._sequences]
        self._sequences.clear()
        if ends:
            self._steps.put_nowait(ends)
        self._steps.put_nowait(None)

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        """Calls back on the event loop, from the engine's thread; a closed loop has nobody left to tell."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, *args)

    # -- in the engine's thread ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._run()
            why = "it was stopped"
        except Exception as error:
            log.exception("the vision engine dies")
            why = str(error)
        self._dead = self._dead or why
        self._over = True
        self._post(self._end_all)

    def _run(self) -> None:
        running: list[Reading] = []
        while self._gather(running):
            running = self._round(running)

    def _gather(self, running: list[Reading]) -> bool:
        """Waits until there is something to do; False when there never will be."""
        while not running or not self._waiting.empty():
            reading = self._waiting.get()
            if reading is None:
                return False
            running.append(reading)
        return True

    def _round(self, running: list[Reading]) -> list[Reading]:
        """One token more for each, told at once; those who are left. One prompt at most is read: it takes long."""
        left, reads = [], False
        for reading in running:
            if reading.gone:
                continue
            if reading.begun or not reads:
                reads = reads or not reading.begun
                step = self._advance(reading)
                self._post(self._take, reading, step)
                if isinstance(step[-1], Finished):
                    continue
            left.append(reading)
        return left

    def _advance(self, reading: Reading) -> Step:
        """One more token. What goes wrong is the request's trouble as long as the model still computes."""
        prompt, at = reading.prompt, reading.at
        try:
            token, said = reading.step()
        except InvalidRequest as error:
            return [_failed(prompt.id, error)]
        except Exception as error:
            if not computes(self._model):
                raise EngineDied(NO_NUMBERS) from error
            if isinstance(error, NoNumbers):
                return [Finished(prompt.id, "error", str(error))]
            log.exception("the model fails on %s", prompt.id)
            return [Finished(prompt.id, "error", f"the model fails on this request ({type(error).__name__})")]
        likely: list[Logprob] = [logprob_of(said, self.vocabulary.bytes_of)] if said else []
        step: Step = [Tokens(prompt.id, at, [token], likely)]
        if token in prompt.stop_ids:
            step.append(Finished(prompt.id, "stop"))
        elif reading.over:
            step.append(Finished(prompt.id, "length"))
        return step


def _failed(id: str, error: QueuechatError) -> Finished:
    return Finished(id, "error", error.message, param=error.param)
