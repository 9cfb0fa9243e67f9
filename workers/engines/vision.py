"""Models that read images, under transformers: each sequence has its own cache, and a round gives one token to each.

There is no continuous batching of images in transformers. The sequences are run one after the other, so that what is
said depends on nobody else, and a step is one sequence's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from workers.engines.base import Prompt, Step
from workers.engines.drawing import Drawn, draw
from workers.engines.stepwise import StepwiseEngine, last
from workers.engines.vision_model import load_seeing
from workers.engines.vision_reading import Reading
from workers.engines.weights import Keeping


class VisionEngine(StepwiseEngine[Reading]):
    """See `workers.engines.base.Engine`. `source` is a folder or a Hub id."""

    kind = "vision"
    options = frozenset({"keeping"})
    running_by_device = {"cpu": 4, "": 8}  # noqa: RUF012
    vision = True

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
        load = partial(load_seeing, source, revision, device=device, dtype=dtype, threads=threads, keeping=keeping)
        super().__init__(load, max_running, max_context)

    def _sequence(self, prompt: Prompt, matcher: Any) -> Reading:
        return Reading(self._model, prompt, matcher)

    def _round(self, running: list[Reading]) -> list[Reading]:
        """One token more for each, told at once; those who are left. One prompt at most is read: it takes long."""
        left, reads = [], False
        for reading in running:
            if reading.gone:
                continue
            if reading.begun or not reads:
                reads = reads or not reading.begun
                step = self._advance(reading)
                self._tell([(reading, step)])
                if last(step):
                    continue
            left.append(reading)
        return left

    def _advance(self, reading: Reading) -> Step:
        outcome: Drawn | Exception
        try:
            (outcome,) = draw([reading], reading.logits())
        except Exception as error:
            outcome = error
        return self._events(reading, outcome)
