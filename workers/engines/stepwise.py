"""What engines have in common that step their sequences themselves: models that no continuous batching takes.

A thread runs the model; all bookkeeping happens on the event loop, so nothing here needs a lock. A subclass says how
its model is loaded, what a sequence is, and what one round of steps does to those that run. A step of no events says
that the model still reads.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, TypeVar

from queuechat.errors import ContextLengthExceeded, EngineDied, InvalidRequest, QueuechatError, UnsupportedParameter
from queuechat.protocol import Logprob
from workers.engines.base import Caps, Finished, Prompt, Step, Tokens, Vocabulary, refuse_beyond, refuse_unknown
from workers.engines.batch_manager import compiler_of
from workers.engines.batch_sequence import logprob_of
from workers.engines.constraint import KINDS, Compiler
from workers.engines.drawing import Drawn, Output
from workers.engines.hf_model import Loaded, computes
from workers.engines.no_numbers import NO_NUMBERS
from workers.engines.pulse import feel
from workers.sampling import refuse_unusable

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 30.0
O = TypeVar("O", bound=Output)  # noqa: E741


class StepwiseEngine(ABC, Generic[O]):
    """See `workers.engines.base.Engine`."""

    kind: str
    running_by_device: dict[str, int]  #: sequences, where nobody says how many; "" is any other device
    vision = False

    caps: Caps
    vocabulary: Vocabulary

    def __init__(self, load: Callable[[], Loaded], max_running: int | None, max_context: int | None):
        self._load = load
        self._max_running, self._max_context = max_running, max_context
        self._model: Any = None
        self._vocab_size = 0
        self._compiler: Compiler | None = None
        self._compiling: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps: asyncio.Queue[Step | None] = asyncio.Queue()
        self._waiting: queue.SimpleQueue[O | None] = queue.SimpleQueue()  # None: stop
        self._sequences: dict[str, O | None] = {}  # None: its grammar is being compiled
        self._thread = threading.Thread(target=self._work, name=f"{self.kind} engine", daemon=True)
        self._dead = "it was not started"
        self._over = False

    @abstractmethod
    def _sequence(self, prompt: Prompt, matcher: Any) -> O:
        """A sequence that has not begun. Called on the event loop."""

    @abstractmethod
    def _round(self, running: list[O]) -> list[O]:
        """Steps all that run, tells what they say by `_tell`, and returns those who are left. Called in the thread."""

    def _computes(self) -> bool:
        """Whether the model still answers in numbers."""
        return computes(self._model)

    def _context(self, loaded: Loaded) -> int:
        """Tokens of prompt and answer together."""
        return min(self._max_context or loaded.context_length, loaded.context_length)

    def start(self) -> None:
        loaded = self._load()
        self.vocabulary = loaded.vocabulary
        self._model, self._vocab_size = loaded.model, int(loaded.text_config.vocab_size)
        if not self._computes():
            raise EngineDied(NO_NUMBERS)
        self._compiler = compiler_of(loaded)
        feel(self._model, lambda: self._post(self._steps.put_nowait, []))
        self.caps = Caps(
            self._context(loaded),
            self._max_running or self.running_by_device.get(loaded.device, self.running_by_device[""]),
            "exact" if loaded.exact else "distribution",
            False,
            loaded.device,
            grammars=KINDS if self._compiler and self.vocabulary.eos_ids else frozenset(),
            logprobs=self._compiler is not None,
            vision=self.vision,
            quantization=loaded.quantization,
        )
        self._dead = ""
        self._thread.start()

    def admit(self, prompt: Prompt) -> None:
        self._bind()
        if self._dead:
            raise EngineDied(f"the {self.kind} engine does not run: {self._dead}")
        if prompt.id in self._sequences:
            raise InvalidRequest(f"{prompt.id} is running already", param="id")
        refuse_beyond(prompt, self.caps)
        refuse_unusable(prompt.sampling, self._vocab_size)
        self._check_ids(prompt)
        if prompt.grammar is not None:
            prompt = replace(prompt, stop_ids=prompt.stop_ids | self.vocabulary.eos_ids)
        prompt = replace(prompt, max_new=min(prompt.max_new, self._room(prompt)))
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
        sequence = self._sequences.pop(id)
        if sequence is not None:
            sequence.gone = True
        self._steps.put_nowait([Finished(id, "cancelled")])

    async def steps(self) -> AsyncIterator[Step]:
        self._bind()
        while (step := await self._steps.get()) is not None:
            yield step

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        raise UnsupportedParameter(f"a model of the {self.kind} engine gives no embeddings here", param="input")

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
        self._refuse_long(len(prompt.prompt_ids), self.caps.context_length)

    def _refuse_long(self, length: int, limit: int) -> None:
        if length > limit:
            raise ContextLengthExceeded(f"{length} tokens, and the context holds {limit}", param="prompt")

    def _room(self, prompt: Prompt) -> int:
        """Tokens that an answer may have, its prefix included."""
        return self.caps.context_length - len(prompt.prompt_ids)

    def _begin(self, prompt: Prompt, matcher: Any = None) -> None:
        sequence = self._sequence(prompt, matcher)
        self._sequences[prompt.id] = sequence
        self._waiting.put(sequence)

    async def _compile(self, prompt: Prompt) -> None:
        assert self._compiler is not None
        assert prompt.grammar is not None
        try:
            matcher = await self._compiler.matcher(prompt.grammar)
            if prompt.id in self._sequences:  # else it was aborted since
                self._begin(prompt, matcher)
        except QueuechatError as error:
            end = failed(prompt.id, error)
        except Exception as error:  # a grammar must not cost the others their engine, nor its sequence its end
            log.exception("the grammar of %s cannot be compiled", prompt.id)
            end = Finished(prompt.id, "error", f"this grammar fails ({error})", param="response_format")
        else:
            return
        if prompt.id in self._sequences:
            del self._sequences[prompt.id]
            self._steps.put_nowait([end])

    def _take(self, told: Sequence[tuple[O, Step]]) -> None:
        step: Step = []
        for sequence, events in told:
            if not sequence.gone:
                step += events
                if isinstance(events[-1], Finished):
                    self._sequences.pop(sequence.prompt.id, None)
        if step:
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
            log.exception("the %s engine dies", self.kind)
            why = str(error)
        self._dead = self._dead or why
        self._over = True
        self._post(self._end_all)

    def _run(self) -> None:
        running: list[O] = []
        while self._gather(running):
            running = self._round(running)

    def _gather(self, running: list[O]) -> bool:
        """Waits until there is something to do; False when there never will be."""
        while not running or not self._waiting.empty():
            sequence = self._waiting.get()
            if sequence is None:
                return False
            running.append(sequence)
        return True

    def _tell(self, told: Sequence[tuple[O, Step]]) -> None:
        """What a step has made of sequences."""
        if told:
            self._post(self._take, told)

    def _events(self, sequence: O, outcome: Drawn | Exception) -> Step:
        """What became of one sequence. What goes wrong is the request's trouble as long as the model still computes.

        Raises:
            EngineDied: it does not.
        """
        id = sequence.prompt.id
        if isinstance(outcome, InvalidRequest):
            return [failed(id, outcome)]
        if isinstance(outcome, Exception):
            return [self._broken(id, outcome)]
        likely: list[Logprob] = [logprob_of(outcome.said, self.vocabulary.bytes_of)] if outcome.said else []
        step: Step = [Tokens(id, sequence.at - 1, [outcome.token], likely)]
        if outcome.token in sequence.prompt.stop_ids:
            step.append(Finished(id, "stop"))
        elif sequence.over:
            step.append(Finished(id, "length"))
        return step

    def _broken(self, id: str, error: Exception) -> Finished:
        try:
            sound = self._computes()
        except Exception:
            log.exception("the model of the %s engine does not run any more", self.kind)
            sound = False
        if not sound:
            raise EngineDied(NO_NUMBERS) from error
        if isinstance(error, ArithmeticError):
            return Finished(id, "error", str(error))
        log.error("the model fails on %s", id, exc_info=error)
        return Finished(id, "error", f"the model fails on this request ({type(error).__name__})")


def failed(id: str, error: QueuechatError) -> Finished:
    return Finished(id, "error", error.message, param=error.param)


def last(step: Step) -> bool:
    """Whether a sequence ends with these events of it."""
    return isinstance(step[-1], Finished)
