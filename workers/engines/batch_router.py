"""What comes out of transformers' continuous batching: a whole step at once, and only what was drawn from numbers.

Logits of NaN or infinity have an argmax too, so a model that has gone wrong would go on talking nonsense. Its row
maxima are looked at with every step. A row that is broken among sound ones is the trouble of its request (say, values
beyond float16), which another worker would not spare it: that request ends with an error, the others go on. Where all
rows are broken the model may be, or one row has spoilt the attention of all: the engine dies, and others take over.
A row alone is told apart by asking the model something that it could answer when it was started.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus

from queuechat.errors import EngineDied, InvalidRequest, QueuechatError
from workers.engines.batch_sampler import BatchSampler
from workers.engines.hf_model import computes
from workers.engines.no_numbers import NO_NUMBERS, NO_NUMBERS_HERE

STUCK = "the answer cannot go on under its grammar, which may be too complex"

Sink = Callable[[Sequence[Any], Mapping[str, QueuechatError]], None]


class Router:
    """Takes the place of the manager's OutputRouter; called in the engine's thread.

    `sink` gets the outputs of a step, and of the requests among them those that cannot go on, each with the reason.
    """

    def __init__(self, manager: Any, sampler: BatchSampler) -> None:
        self.warm = threading.Event()
        self.sink: Sink = self._warmed
        self._manager = manager
        self._sampler = sampler

    def deliver(self, output: Any) -> None:
        self.sink([output], {})

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        """Raises EngineDied, which ends the manager's loop, when it is the model that is broken."""
        over: dict[str, QueuechatError] = {id: QueuechatError(NO_NUMBERS_HERE) for id in self._sampler.broken()}
        broken = list(over)
        if broken:
            self._judge(broken)
        for id, why in self._sampler.stuck().items():
            over.setdefault(id, InvalidRequest(f"{STUCK}: {why[:200]}", param="response_format"))
        self._drop(over)
        if broken:  # else the next one with the same beginning would be given these keys
            self._manager.batch_processor.cache.evict_cached_blocks()
        self._sampler.settle()
        self.sink(outputs, over)

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        state.status = RequestStatus.FAILED
        state.error = str(error)
        self.deliver(state.to_generation_output())

    def _judge(self, broken: Sequence[str]) -> None:
        alone = self._sampler.rows == 1
        if (len(broken) == self._sampler.rows and not alone) or not computes(self._manager.model):
            raise EngineDied(NO_NUMBERS)

    def _drop(self, requests: Iterable[str]) -> None:
        scheduler = self._manager.batch_processor.scheduler
        for request in requests:
            scheduler.finish_request(request)
            scheduler.block_new_requests = False

    def _warmed(self, outputs: Sequence[Any], over: Mapping[str, QueuechatError]) -> None:
        if not over and all(output.status == RequestStatus.FINISHED for output in outputs):
            self.warm.set()
