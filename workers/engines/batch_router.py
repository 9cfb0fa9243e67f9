"""What comes out of transformers' continuous batching: a whole step at once, and only what was drawn from numbers.

Logits of NaN or infinity have an argmax too, so a model that has gone wrong would go on talking nonsense. Its row
maxima are looked at with every step. A row that is broken among sound ones is the trouble of its request (say, values
beyond float16), which another worker would not spare it: that request ends with an error, the others go on. Where all
rows are broken the model may be, or one row has spoilt the attention of all: the engine dies, and others take over.
A row alone is told apart by asking the model something that it could answer when it was started.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus

from queuechat.errors import EngineDied
from workers.engines.batch_sampler import BatchSampler
from workers.engines.hf_model import computes

NO_NUMBERS = (
    "the model computes NaN or infinity instead of logits: its weights are damaged, or its numbers grow beyond what "
    "the dtype holds (float16 is the narrowest; try bfloat16 or float32)"
)
NO_NUMBERS_HERE = "the model computes NaN or infinity instead of logits for this request"

Sink = Callable[[Sequence[Any], frozenset[str]], None]


class Router:
    """Takes the place of the manager's OutputRouter; called in the engine's thread.

    `sink` gets the outputs of a step, and the ids of the requests among them that are over because of their numbers.
    """

    def __init__(self, manager: Any, sampler: BatchSampler) -> None:
        self.warm = threading.Event()
        self.sink: Sink = self._warmed
        self._manager = manager
        self._sampler = sampler

    def deliver(self, output: Any) -> None:
        self.sink([output], frozenset())

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        """Raises EngineDied, which ends the manager's loop, when it is the model that is broken."""
        broken = self._sampler.broken()
        if broken:
            self._judge(broken)
        self.sink(outputs, frozenset(broken))

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        state.status = RequestStatus.FAILED
        state.error = str(error)
        self.deliver(state.to_generation_output())

    def _judge(self, broken: Sequence[str]) -> None:
        alone = self._sampler.rows == 1
        if (len(broken) == self._sampler.rows and not alone) or not computes(self._manager.model):
            raise EngineDied(NO_NUMBERS)
        processor = self._manager.batch_processor
        for request in broken:
            processor.scheduler.finish_request(request)
        processor.scheduler.block_new_requests = False
        processor.cache.evict_cached_blocks()  # else the next one with the same beginning would be given these keys

    def _warmed(self, outputs: Sequence[Any], broken: frozenset[str]) -> None:
        if not broken and all(output.status == RequestStatus.FINISHED for output in outputs):
            self.warm.set()
