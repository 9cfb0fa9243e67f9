"""The next tokens of sequences that are stepped here, not by transformers' continuous batching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from queuechat.errors import InvalidRequest
from workers.engines.base import Prompt
from workers.engines.batch_router import STUCK
from workers.engines.batch_sampler import Said
from workers.engines.constraint import Masks
from workers.engines.no_numbers import NO_NUMBERS_HERE
from workers.logprobs import likelihoods
from workers.sampling import History, needs_history, shaped


class NoNumbers(ArithmeticError):
    """The logits are not finite: this request's fault, or the model is broken."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token, and how likely it was if that was asked."""

    token: int
    said: Said | None = None


Outcome = Drawn | NoNumbers | InvalidRequest


class Output:
    """What one sequence has said so far. `at` is the offset of its next token, `matcher` holds it to a grammar."""

    def __init__(self, prompt: Prompt, matcher: Any = None):
        self.prompt = prompt
        self.at = len(prompt.prefix_ids)
        self.gone = False  #: nobody waits for it any more
        self.matcher = matcher
        self._history: History | None = None

    @property
    def over(self) -> bool:
        return self.at >= self.prompt.max_new

    def recall(self) -> None:
        """Brings the grammar to where the prefix ends; once, before the first token is drawn."""
        if self.matcher is not None:
            self.matcher.consume_tokens(list(self.prompt.prefix_ids))

    def heard(self, logits: Tensor) -> History | None:
        """What the penalties look at; None without any. `logits` are [rows, vocab]."""
        if not needs_history(self.prompt.sampling):
            return None
        if self._history is None:
            self._history = History.empty(logits.shape[1], logits.device)
            # Placeholders of images may lie beyond the vocabulary, where no logit is.
            self._history.add([id for id in self.prompt.prompt_ids if id < logits.shape[1]], output=False)
            self._history.add(self.prompt.prefix_ids, output=True)
        return self._history

    def take(self, token: int) -> None:
        self.at += 1
        if self._history is not None:
            self._history.add([token], output=True)
        if self.matcher is not None:
            self.matcher.consume_tokens([token])


def draw(outputs: Sequence[Output], logits: Tensor) -> list[Outcome]:
    """One token for each output, which takes it; or why there is none, which is nobody else's trouble.

    Args:
        outputs: what each row has said.
        logits: [rows, vocab].
    """
    with torch.inference_mode():
        return _drawn(outputs, logits.float())


_MASKS = Masks()


def _drawn(outputs: Sequence[Output], logits: Tensor) -> list[Outcome]:
    sound = logits.amax(dim=-1).isfinite().tolist()
    told = [i for i, output in enumerate(outputs) if output.prompt.logprobs is not None]
    raw = logits[told] if told else ()
    samplings, places = [output.prompt.sampling for output in outputs], [output.at for output in outputs]
    shaped(logits, samplings, places, [output.heard(logits) for output in outputs], _allowed(outputs, logits))
    taken = logits.argmax(dim=-1)
    said = {i: _likely(row, taken[i], outputs[i].prompt.logprobs or 0) for i, row in zip(told, raw, strict=True)}
    tokens = taken.tolist()
    return [_outcome(output, sound[i], tokens[i], said.get(i)) for i, output in enumerate(outputs)]


def _allowed(outputs: Sequence[Output], logits: Tensor) -> dict[int, Tensor]:
    """By row, what its grammar allows."""
    bound = [i for i, output in enumerate(outputs) if output.matcher is not None]
    if not bound:
        return {}
    return dict(zip(bound, _MASKS.of([outputs[i].matcher for i in bound], logits.shape[1]), strict=True))


def _likely(logits: Tensor, token: Tensor, alternatives: int) -> Said:
    ids, values = likelihoods(logits[None], token[None], alternatives)
    return ids[0].tolist(), values[0].tolist()


def _outcome(output: Output, sound: bool, token: int, said: Said | None) -> Outcome:
    if not sound:
        return NoNumbers(NO_NUMBERS_HERE)
    if output.matcher is not None and output.matcher.is_error():
        return InvalidRequest(f"{STUCK}: {output.matcher.get_error()[:200]}", param="response_format")
    output.take(token)
    return Drawn(token, said)
