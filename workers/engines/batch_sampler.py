"""Per-request sampling inside transformers' continuous batching: a logits processor that leaves one argmax.

The manager runs with `do_sample=False`: it takes the argmax of what `workers.sampling.shaped` returns. It must also
run synchronously and without graphs: with asynchronous batching the tokens known to a request lag one step behind,
which the penalties would see, and a captured graph would replay the parameters of the step it was captured in. The
noise would bear both, because its position comes from `position_offset`, which the manager moves on as it packs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

from queuechat.protocol import Sampling
from workers.sampling import History, needs_history, shaped


class Row:
    """What the sampler knows of one sequence. Rides in `logit_processor_kwargs`, so it lives as long as the request."""

    def __init__(self, sampling: Sampling, prompt_length: int):
        self.sampling = sampling
        self.prompt_length = prompt_length
        self._history: History | None = None
        self._counted = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Row:
        """Itself: under memory pressure the manager requeues a request with a deep copy of its kwargs."""
        return self

    def history(self, state: Any, logits: Tensor) -> History | None:
        """What was said until now, brought up to date; None where no penalty asks for it."""
        if not needs_history(self.sampling):
            return None
        if self._history is None:
            self._history = History.empty(logits.shape[1], logits.device)
        fresh = _tokens_from(state, self._counted)
        prompt_part = max(0, self.prompt_length - self._counted)
        self._history.add(fresh[:prompt_part], output=False)
        self._history.add(fresh[prompt_part:], output=True)
        self._counted += len(fresh)
        return self._history


def _tokens_from(state: Any, start: int) -> list[int]:
    """Prompt and output of a request from token `start` on."""
    given = len(state.initial_tokens)
    if start >= given:
        return list(state.generated_tokens[start - given :])
    return [*state.initial_tokens[start:], *state.generated_tokens]


@dataclass(frozen=True, slots=True)
class _Turn:
    row: Row
    state: Any
    position: int


_GREEDY = Row(Sampling(temperature=0), 0)


class BatchSampler:
    """A ContinuousBatchingLogitsProcessor; `add_request(..., row=Row(...))` gives each request its parameters."""

    def __init__(self) -> None:
        self.supported_kwargs: dict[str, type] = {"row": Row}
        self.ignored_kwargs: tuple[str, ...] = ()
        self._turns: list[_Turn] = []
        self._peaks: Tensor | None = None

    @property
    def rows(self) -> int:
        """Sequences that got a token in the last step."""
        return len(self._turns)

    def broken(self) -> list[str]:
        """The requests of the last step whose logits were not numbers. To be asked when the step is computed."""
        peaks = [] if self._peaks is None else self._peaks.tolist()
        return [turn.state.request_id for turn, peak in zip(self._turns, peaks, strict=True) if not math.isfinite(peak)]

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> Tensor:
        """Notes who gets a token in this step. The row of int32 that the manager carries is too narrow to be used."""
        self._turns = [_turn(request.state) for request in requests_with_new_token]
        return torch.zeros(len(self._turns), dtype=torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """`scores` [rows, vocab]; rows past the noted ones belong to prompts not read to their end."""
        turns = self._turns
        part = scores[: len(turns)]
        self._peaks = part.amax(dim=-1)  # NaN wins; read after the step, so that nothing waits for the device here
        shaped(
            part,
            [turn.row.sampling for turn in turns],
            [turn.position for turn in turns],
            [turn.row.history(turn.state, part) for turn in turns],
        )
        return scores


# A subclass by registration: the base is Any to the type checker where transformers is not installed.
ContinuousBatchingLogitsProcessor.register(BatchSampler)


def _turn(state: Any) -> _Turn:
    row = state.logit_processor_kwargs.get("row", _GREEDY)
    return _Turn(row, state, state.position_offset - row.prompt_length)


def install(model: Any, sampler: BatchSampler) -> None:
    """Makes the model's next continuous batching manager use the sampler; then `make_room` must follow."""
    model._get_logits_processor = lambda generation_config: LogitsProcessorList([sampler])


def make_room(manager: Any) -> None:
    """The manager only counts tensors of processors that it has converted itself."""
    manager.logit_processor.tensors_required += 1
