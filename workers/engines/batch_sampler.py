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
from workers.engines.constraint import Masks
from workers.logprobs import likelihoods
from workers.sampling import History, needs_history, shaped

Said = tuple[list[int], list[float]]
"""Of one token: ids and log probabilities, its own first, then the likeliest ones."""


class Row:
    """What the sampler knows of one sequence. Rides in `logit_processor_kwargs`, so it lives as long as the request.

    `logprobs` is the number of alternatives that are wanted, None for no log probabilities; then `said` has an entry
    for each token since the request was admitted. `matcher` holds the output to a grammar, `adapter` is what the
    sequence wears.
    """

    def __init__(self, sampling: Sampling, prompt_length: int, logprobs: int | None = None, adapter: str = ""):
        self.sampling = sampling
        self.prompt_length = prompt_length
        self.logprobs = logprobs
        self.matcher: Any = None
        self.adapter = adapter
        self.said: list[Said] = []
        self._matched = 0
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

    def follow(self, state: Any) -> None:
        """Brings the matcher to the place where the output is now. One that cannot follow is in error from then on."""
        fresh = _tokens_from(state, self.prompt_length + self._matched)
        self._matched += len(fresh)
        self.matcher.consume_tokens(fresh)


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
        self._said: tuple[Tensor, Tensor] | None = None
        self._masks = Masks()

    @property
    def rows(self) -> int:
        """Sequences that got a token in the last step."""
        return len(self._turns)

    def broken(self) -> list[str]:
        """The requests of the last step whose logits were not numbers. To be asked when the step is computed."""
        peaks = [] if self._peaks is None else self._peaks.tolist()
        return [turn.state.request_id for turn, peak in zip(self._turns, peaks, strict=True) if not math.isfinite(peak)]

    def stuck(self) -> dict[str, str]:
        """The requests of the last step that cannot go on under their grammar, and what llguidance says of it."""
        bound = [turn for turn in self._turns if turn.row.matcher is not None]
        return {turn.state.request_id: turn.row.matcher.get_error() for turn in bound if turn.row.matcher.is_error()}

    def settle(self) -> None:
        """Gives the rows what was said in the last step. To be asked when the step is computed."""
        if self._said is not None:
            ids, logprobs = (tensor.tolist() for tensor in self._said)
            self._said = None
            for turn, row_ids, row_logprobs in zip(_asking(self._turns), ids, logprobs, strict=True):
                wanted = 1 + (turn.row.logprobs or 0)
                turn.row.said.append((row_ids[:wanted], row_logprobs[:wanted]))

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> Tensor:
        """Notes who gets a token in this step. The row of int32 that the manager carries is too narrow to be used."""
        self._turns = [_turn(request.state) for request in requests_with_new_token]
        self._said = None
        return torch.zeros(len(self._turns), dtype=torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """`scores` [rows, vocab]; rows past the noted ones belong to prompts not read to their end."""
        turns = self._turns
        part = scores[: len(turns)]
        self._peaks = part.amax(dim=-1)  # NaN wins; read after the step, so that nothing waits for the device here
        asking = [i for i, turn in enumerate(turns) if turn.row.logprobs is not None]
        raw = part[asking] if asking else None
        shaped(
            part,
            [turn.row.sampling for turn in turns],
            [turn.position for turn in turns],
            [turn.row.history(turn.state, part) for turn in turns],
            self._allowed(part.shape[1]),
        )
        if raw is not None:
            most = max(turns[i].row.logprobs or 0 for i in asking)
            self._said = likelihoods(raw, part[asking].argmax(dim=-1), most)
        return scores

    def _allowed(self, vocab: int) -> dict[int, Tensor]:
        """By row, what its grammar allows. Computed while the device is busy with the step."""
        bound = [(i, turn) for i, turn in enumerate(self._turns) if turn.row.matcher is not None]
        if not bound:
            return {}
        for _, turn in bound:
            turn.row.follow(turn.state)
        masks = self._masks.of([turn.row.matcher for _, turn in bound], vocab)
        return {i: mask for (i, _), mask in zip(bound, masks, strict=True)}


# A subclass by registration: the base is Any to the type checker where transformers is not installed.
ContinuousBatchingLogitsProcessor.register(BatchSampler)


def _asking(turns: Sequence[_Turn]) -> list[_Turn]:
    return [turn for turn in turns if turn.row.logprobs is not None]


def _turn(state: Any) -> _Turn:
    row = state.logit_processor_kwargs.get("row", _GREEDY)
    return _Turn(row, state, state.position_offset - row.prompt_length)


def install(model: Any, sampler: BatchSampler) -> None:
    """Makes the model's next continuous batching manager use the sampler; then `make_room` must follow."""
    model._get_logits_processor = lambda generation_config: LogitsProcessorList([sampler])


def make_room(manager: Any) -> None:
    """The manager only counts tensors of processors that it has converted itself."""
    manager.logit_processor.tensors_required += 1
