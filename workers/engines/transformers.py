"""The default engine on accelerators: Hugging Face models under transformers' continuous batching.

The manager runs its loop in a thread of its own; its router is replaced by one that hands over a whole step at once.
All bookkeeping happens on the event loop, so nothing here needs a lock. A sequence with a grammar waits for it to be
compiled, beside the loop, before the manager hears of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from queuechat.errors import ContextLengthExceeded, EngineDied, InvalidRequest, QueuechatError
from queuechat.protocol import Logprob
from workers.engines.adapters import adapters_of
from workers.engines.base import Caps, Finished, Prompt, Step, Vocabulary, refuse_beyond, refuse_unknown
from workers.engines.batch_manager import compiler_of, manager_of, warm_up
from workers.engines.batch_sampler import Row
from workers.engines.batch_sequence import Sequence as Running
from workers.engines.batch_sequence import logprob_of
from workers.engines.constraint import KINDS, Compiler
from workers.engines.hf_model import Loaded, cache_plan, computes, load, mean_pooled
from workers.engines.hf_scores import has_plain_head, scores_of
from workers.engines.no_numbers import NO_NUMBERS, NO_NUMBERS_HERE
from workers.engines.pulse import feel
from workers.sampling import refuse_unusable

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 30.0


class TransformersEngine:
    """See `workers.engines.base.Engine`. `lora` are folders of adapters by name, the rest is as for `hf_model.load`."""

    options = frozenset({"keeping", "lora"})  #: what it can be given beyond what all of Hugging Face's models can
    caps: Caps
    vocabulary: Vocabulary

    def __init__(
        self,
        source: str,
        *,
        max_running: int | None = None,
        max_context: int | None = None,
        lora: Mapping[str, str] | None = None,
        **how: Any,
    ):
        self._load: Callable[[], Loaded] = partial(load, source, **how)
        self._lora = lora or {}
        self._max_running = max_running
        self._max_context = max_context
        self._model: Any = None
        self._manager: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps: asyncio.Queue[Step | None] = asyncio.Queue()
        self._sequences: dict[str, Running] = {}
        self._by_request: dict[str, Running] = {}  # those that the manager knows
        self._compiler: Compiler | None = None
        self._compiling: set[asyncio.Task[None]] = set()
        self._admitted = 0
        self._dead = "it was not started"
        self._over = False
        self._embedding = threading.Lock()

    def start(self) -> None:
        loaded = self._load()
        max_running = self._max_running or (16 if loaded.on_cpu else 64)
        plan, context = cache_plan(loaded, max_running, self._max_context)
        self._model = loaded.model
        adapters = adapters_of(loaded.model, self._lora)
        self._manager, router = manager_of(loaded, plan)
        self._manager.start()
        warm_up(self._manager, router)
        adapters.follow(self._manager)
        cache = self._manager.batch_processor.cache
        context = min(context, cache.num_blocks * plan.page_size)
        self._compiler = compiler_of(loaded)
        self.caps = Caps(
            context,
            max_running,
            "exact" if loaded.exact else "distribution",
            True,
            loaded.device,
            grammars=KINDS if self._compiler and loaded.vocabulary.eos_ids else frozenset(),
            logprobs=self._compiler is not None,
            scores=self._compiler is not None and has_plain_head(loaded.model),
            adapters=adapters.names,
            quantization=loaded.quantization,
        )
        self.vocabulary, self.wearing = loaded.vocabulary, adapters.wearing
        self._dead = ""
        feel(self._model, lambda: self._post(self._steps.put_nowait, []))
        router.sink = lambda outputs, errors: self._post(self._take, outputs, errors)
        watched = (self._manager._generation_thread, self._manager.background_thread_status)
        threading.Thread(target=self._watch, args=watched, daemon=True).start()

    def admit(self, prompt: Prompt) -> None:
        self._bind()
        if self._dead:
            raise EngineDied(f"the transformers engine does not run: {self._dead}")
        if prompt.id in self._sequences:
            raise InvalidRequest(f"{prompt.id} is running already", param="id")
        refuse_beyond(prompt, self.caps)
        refuse_unusable(prompt.sampling, self._vocab_size)
        self._check_ids(prompt.prompt_ids)
        self._check_ids(prompt.prefix_ids or prompt.prompt_ids)
        if prompt.grammar is not None:
            prompt = replace(prompt, stop_ids=prompt.stop_ids | self.vocabulary.eos_ids)
        reason = self._already_over(prompt)
        if reason:
            self._steps.put_nowait([reason])
        else:
            self._begin(prompt)

    def abort(self, id: str) -> None:
        sequence = self._sequences.get(id)
        if sequence is None:
            return
        submitted = sequence.request in self._by_request
        self._forget(sequence)
        self._steps.put_nowait([Finished(id, "cancelled")])
        if submitted and self._manager is not None:
            self._manager.cancel_request(sequence.request)
            # Having evicted a request, the manager lets none in until one ends, and forgets that a cancelled one did.
            self._manager.batch_processor.scheduler.block_new_requests = False

    async def steps(self) -> AsyncIterator[Step]:
        self._bind()
        while (step := await self._steps.get()) is not None:
            yield step

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        if self._dead:
            raise EngineDied(f"the transformers engine does not run: {self._dead}")
        for ids in batch:
            self._check_ids(ids, param="input")
        with self._embedding, self._undisturbed():
            vectors = mean_pooled(self._model, batch)
            if not all(math.isfinite(sum(vector)) for vector in vectors):
                raise QueuechatError(NO_NUMBERS_HERE) if computes(self._model) else EngineDied(NO_NUMBERS)
        return vectors

    def score(self, ids: Sequence[int], alternatives: int) -> list[Logprob]:
        if self._dead:
            raise EngineDied(f"the transformers engine does not run: {self._dead}")
        self._check_ids(ids)
        with self._embedding, self._undisturbed():
            said = [logprob_of(one, self.vocabulary.bytes_of) for one in scores_of(self._model, ids, alternatives)]
        if not all(one.logprob is not None and math.isfinite(one.logprob) for one in said):
            raise QueuechatError(NO_NUMBERS_HERE) if computes(self._model) else EngineDied(NO_NUMBERS)
        return [Logprob(self.vocabulary.bytes_of(ids[0]), None), *said]

    def running(self) -> int:
        return len(self._sequences)

    def close(self) -> None:
        manager, self._manager = self._manager, None
        self._dead = self._dead or "it was closed"
        if self._compiler is not None:
            self._compiler.close()
        if manager is not None:
            manager.stop(block=True, timeout=CLOSE_TIMEOUT_S, hard_stop=True)
            manager.destroy()
        self._model = None
        gc.collect()

    @property
    def _vocab_size(self) -> int:
        return int(self._model.config.get_text_config().vocab_size)

    def _bind(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            if self._over:
                self._end_all()

    def _check_ids(self, ids: Sequence[int], *, param: str = "prompt") -> None:
        """An id that is out of range would kill the step, and with it everyone's answers."""
        if not ids:
            raise InvalidRequest("an input needs at least one token", param=param)
        refuse_unknown(ids, self._vocab_size, param=param)
        if len(ids) > self.caps.context_length:
            raise ContextLengthExceeded(
                f"{len(ids)} tokens, and the context holds {self.caps.context_length}", param=param
            )

    def _already_over(self, prompt: Prompt) -> Finished | None:
        if prompt.prefix_ids and prompt.prefix_ids[-1] in prompt.stop_ids:
            return Finished(prompt.id, "stop")
        return None if self._room(prompt) > 0 else Finished(prompt.id, "length")

    def _room(self, prompt: Prompt) -> int:
        """Tokens that are still wanted and fit."""
        in_context = self.caps.context_length - len(prompt.prompt_ids)
        return min(prompt.max_new, in_context) - len(prompt.prefix_ids)

    def _begin(self, prompt: Prompt) -> None:
        self._admitted += 1
        row = Row(prompt.sampling, len(prompt.prompt_ids), prompt.logprobs, prompt.adapter)
        sequence = Running(prompt, f"{self._admitted}:{prompt.id}", len(prompt.prefix_ids), row)
        self._sequences[prompt.id] = sequence
        if prompt.grammar is None:
            try:
                self._submit(sequence)
            except EngineDied:
                self._forget(sequence)
                raise
            return
        task = asyncio.get_running_loop().create_task(self._compile(sequence), name=f"grammar of {prompt.id}")
        self._compiling.add(task)
        task.add_done_callback(self._compiling.discard)

    async def _compile(self, sequence: Running) -> None:
        prompt = sequence.prompt
        assert self._compiler is not None
        assert prompt.grammar is not None
        try:
            sequence.row.matcher = await self._compiler.matcher(prompt.grammar)
            if self._sequences.get(prompt.id) is not sequence:
                return  # aborted since
            self._submit(sequence)
        except QueuechatError as error:
            end = sequence.refused(error)
        except Exception as error:  # a grammar must not cost the others their engine, nor its sequence its end
            log.exception("the grammar of %s cannot be compiled", prompt.id)
            end = sequence.refused(InvalidRequest(f"this grammar fails ({error})", param="response_format"))
        else:
            return
        if self._sequences.get(prompt.id) is sequence:
            self._forget(sequence)
            self._steps.put_nowait([end])

    def _submit(self, sequence: Running) -> None:
        prompt = sequence.prompt
        self._by_request[sequence.request] = sequence
        accepted = self._manager.add_request(
            [*prompt.prompt_ids, *prompt.prefix_ids],
            request_id=sequence.request,
            max_new_tokens=self._room(prompt),
            streaming=True,
            eos_token_id=list(prompt.stop_ids),
            row=sequence.row,
        )
        if accepted is None:
            raise EngineDied("the transformers engine has died")

    def _forget(self, sequence: Running) -> None:
        self._sequences.pop(sequence.prompt.id, None)
        self._by_request.pop(sequence.request, None)

    def _take(self, outputs: Sequence[Any], errors: Mapping[str, QueuechatError]) -> None:
        """One engine step becomes one list of events."""
        step: Step = []
        for output in outputs:
            sequence = self._by_request.get(output.request_id)
            if sequence is None:
                continue  # aborted since
            error = errors.get(output.request_id)
            step += [sequence.refused(error)] if error else sequence.events(output, self.vocabulary.bytes_of)
            if error or output.is_finished():
                self._forget(sequence)
        if step:
            self._steps.put_nowait(step)

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        """Calls back on the event loop, from the engine's thread; a closed loop has nobody left to tell."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, *args)

    def _watch(self, thread: threading.Thread, status: Any) -> None:
        thread.join()
        self._dead = self._dead or f"its loop ended: {status.fatal_error or 'it was stopped'}"
        self._over = True
        self._post(self._end_all)

    def _end_all(self) -> None:
        """What died with the engine. The manager fails the requests it knows; some may never have reached it."""
        ends: Step = [Finished(id, "error", f"the engine died: {self._dead}", True) for id in self._sequences]
        self._sequences.clear()
        self._by_request.clear()
        if ends:
            self._steps.put_nowait(ends)
        self._steps.put_nowait(None)

    def _undisturbed(self) -> AbstractContextManager[Any]:
        """Rotary tables that grow with the input are state of the model: then no step may run beside an embedding."""
        rope = getattr(self._model.config.get_text_config(), "rope_parameters", None) or {}
        grows = "dynamic" in str(rope) or "longrope" in str(rope)
        return self._manager.pause() if grows else nullcontext()
