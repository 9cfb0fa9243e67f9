"""One sequence of a model that reads images: its cache, what it has said, and how its next token is found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from queuechat.errors import InvalidRequest
from workers.engines.base import Prompt
from workers.engines.batch_router import NO_NUMBERS_HERE, STUCK
from workers.engines.batch_sampler import Said
from workers.engines.constraint import Masks
from workers.logprobs import likelihoods
from workers.sampling import History, needs_history, shaped


class NoNumbers(ArithmeticError):
    """The logits are not finite: this request's fault, or the model is broken."""


class Reading:
    """`at` is the offset of the next token. `matcher` holds the output to a grammar.

    The prompt is read with its images, then the prefix without them (the model may have said a placeholder), then
    one token at a time. The inputs go the way that `generate` of transformers sends them, so that each model gets its
    own positions and masks.
    """

    def __init__(self, model: Any, prompt: Prompt, matcher: Any = None):
        self.prompt = prompt
        self.at = len(prompt.prefix_ids)
        self.gone = False  #: nobody waits for it any more
        self._model, self._matcher = model, matcher
        self._ids: Tensor
        self._given: dict[str, Any] = {}
        self._history: History | None = None

    @property
    def begun(self) -> bool:
        """Whether its prompt was read."""
        return bool(self._given)

    @property
    def over(self) -> bool:
        return self.at >= self.prompt.max_new

    def step(self) -> tuple[int, Said | None]:
        """The next token, and how likely it was if that was asked.

        Raises:
            NoNumbers: the model computes none.
            InvalidRequest: the grammar cannot go on.
        """
        with torch.inference_mode():
            return self._step()

    def _step(self) -> tuple[int, Said | None]:
        logits = self._forward().float()
        if not math.isfinite(float(logits.amax())):
            raise NoNumbers(NO_NUMBERS_HERE)
        wanted = self.prompt.logprobs
        raw = logits.clone() if wanted is not None else None
        shaped(logits, [self.prompt.sampling], [self.at], [self._heard(logits)], self._allowed(logits))
        token = logits.argmax(dim=-1)
        said = None
        if raw is not None:
            ids, values = likelihoods(raw, token, wanted or 0)
            said = (ids[0].tolist(), values[0].tolist())
        self._take(token)
        return int(token), said

    def _forward(self) -> Tensor:
        """Logits of the next token, [1, vocab]."""
        if self._given:
            return self._read(1)
        prefix = self.prompt.prefix_ids
        if self._matcher is not None:
            self._matcher.consume_tokens(list(prefix))
        self._ids = torch.tensor([list(self.prompt.prompt_ids)], device=self._model.device)
        self._given = self._first_inputs()
        logits = self._read(None, then=len(prefix) or 1)
        if not prefix:
            return logits
        self._ids = torch.cat([self._ids, torch.tensor([list(prefix)], device=self._ids.device)], dim=1)
        return self._read(len(prefix))

    def _read(self, last: int | None, then: int = 1) -> Tensor:
        """Runs the model over the `last` ids, None for the prompt with its images; so many come `then`."""
        inputs = self._model.prepare_inputs_for_generation(
            self._ids, next_sequence_length=last, is_first_iteration=last is None, **self._given
        )
        out = self._model(**inputs, return_dict=True)
        self._given = self._model._update_model_kwargs_for_generation(out, self._given, num_new_tokens=then)
        logits: Tensor = out.logits[:, -1, :]
        return logits

    def _first_inputs(self) -> dict[str, Any]:
        given = {
            **self._on_device(self.prompt.sight.inputs if self.prompt.sight else {}),
            "attention_mask": torch.ones_like(self._ids),
            "past_key_values": DynamicCache(config=self._model.config.get_text_config()),
            "use_cache": True,
            "logits_to_keep": 1,
        }
        # Positions are given each time: some models would else take them from what the last sequence has left in them.
        return given | {"position_ids": self._model._prepare_position_ids_for_generation(self._ids, given)}

    def _on_device(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """The processor's tensors, in the model's dtype where they are no integers."""
        device, dtype = self._model.device, self._model.dtype
        return {
            name: value.to(device, dtype if value.is_floating_point() else value.dtype)
            if isinstance(value, Tensor)
            else value
            for name, value in seen.items()
        }

    def _heard(self, logits: Tensor) -> History | None:
        if not needs_history(self.prompt.sampling):
            return None
        if self._history is None:
            self._history = History.empty(logits.shape[1], logits.device)
            # Placeholders of images may lie beyond the vocabulary, where no logit is.
            self._history.add([id for id in self.prompt.prompt_ids if id < logits.shape[1]], output=False)
            self._history.add(self.prompt.prefix_ids, output=True)
        return self._history

    def _allowed(self, logits: Tensor) -> dict[int, Tensor]:
        if self._matcher is None:
            return {}
        mask = Masks().of([self._matcher], logits.shape[1])[0]
        if self._matcher.is_error():
            raise InvalidRequest(f"{STUCK}: {self._matcher.get_error()[:200]}", param="response_format")
        return {0: mask}

    def _take(self, token: Tensor) -> None:
        self._ids = torch.cat([self._ids, token[:, None]], dim=1)
        self.at += 1
        if self._history is not None:
            self._history.add(token.tolist(), output=True)
        if self._matcher is not None:
            self._matcher.consume_tokens(token.tolist())
