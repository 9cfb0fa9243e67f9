"""One sequence of a model that reads images: its cache, and how the logits of its next token are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from workers.engines.base import Prompt
from workers.engines.drawing import Output


class Reading(Output):
    """The prompt is read with its images, then the prefix without them (the model may have said a placeholder), then
    one token at a time. The inputs go the way that `generate` of transformers sends them, so that each model gets its
    own positions and masks.
    """

    def __init__(self, model: Any, prompt: Prompt, matcher: Any = None):
        super().__init__(prompt, matcher)
        self._model = model
        self._ids: Tensor
        self._given: dict[str, Any] = {}

    @property
    def begun(self) -> bool:
        """Whether its prompt was read."""
        return bool(self._given)

    def logits(self) -> Tensor:
        """Of the next token, [1, vocab]."""
        with torch.inference_mode():
            return self._forward()

    def take(self, token: int) -> None:
        super().take(token)
        self._ids = torch.cat([self._ids, torch.tensor([[token]], device=self._ids.device)], dim=1)

    def _forward(self) -> Tensor:
        if self._given:
            return self._read(1)
        prefix = self.prompt.prefix_ids
        self.recall()
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
