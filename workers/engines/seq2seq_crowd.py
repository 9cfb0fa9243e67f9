"""Answers of an encoder-decoder that step together: what their encoder read, and the caches of their decoder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from workers.engines.drawing import Output

O = TypeVar("O", bound=Output)  # noqa: E741


@dataclass(slots=True)
class Layer:
    """Keys and values of one layer, [rows, heads, length, size]: of the answer (`own`) and of the prompt (`read`)."""

    own: tuple[Tensor, Tensor]
    read: tuple[Tensor, Tensor]


class Crowd(Generic[O]):
    """Rows of one batch. Shorter answers are padded on the left, shorter prompts on the right, and masked there.

    `hidden` is [rows, prompt, size], `seen` its mask; `said` [rows, answer] masks what the decoder has been given.
    """

    def __init__(self, model: Any, rows: list[O], hidden: Tensor, seen: Tensor, said: Tensor, layers: list[Layer]):
        self.rows = rows
        self._model = model
        self._hidden, self._seen, self._said, self._layers = hidden, seen, said, layers

    @classmethod
    def read(cls, model: Any, rows: Sequence[O], opening: tuple[int, ...]) -> tuple[Crowd[O], Tensor]:
        """Reads prompts, and prefixes of one length; the logits of what comes next, [rows, vocab]."""
        prompts = [torch.tensor(list(row.prompt.prompt_ids), device=model.device) for row in rows]
        ids = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
        seen = torch.nn.utils.rnn.pad_sequence([torch.ones_like(prompt) for prompt in prompts], batch_first=True)
        given = torch.tensor([[*opening, *row.prompt.prefix_ids] for row in rows], device=model.device)
        with torch.inference_mode():
            hidden = model.get_encoder()(input_ids=ids, attention_mask=seen).last_hidden_state
            out = model(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                attention_mask=seen,
                decoder_input_ids=given,
                decoder_attention_mask=torch.ones_like(given),
                past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
                use_cache=True,
            )
        crowd = cls(model, list(rows), hidden, seen, torch.ones_like(given), _layers(out.past_key_values))
        return crowd, out.logits[:, -1]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Gives each row its last token; the logits of what comes next, [rows, vocab]."""
        given = torch.tensor(list(tokens), device=self._model.device)[:, None]
        said = pad(self._said, (0, 1), value=1)
        with torch.inference_mode():
            out = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden),
                attention_mask=self._seen,
                decoder_input_ids=given,
                decoder_attention_mask=said,
                past_key_values=_cache(self._layers),
                use_cache=True,
            )
        self._said, self._layers = said, _layers(out.past_key_values)
        logits: Tensor = out.logits[:, -1]
        return logits

    def keep(self, rows: Collection[O]) -> None:
        """Lets go of all others, and of the places that only they took."""
        wanted = set(rows)
        kept = [i for i, row in enumerate(self.rows) if row in wanted]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in kept]
        index = torch.tensor(kept, dtype=torch.int64, device=self._seen.device)
        seen, said = self._seen[index], self._said[index]
        width, first = _used(seen).stop, _used(said).start
        self._seen, self._said = seen[:, :width], said[:, first:]
        self._hidden = self._hidden[index, :width]
        self._layers = [
            Layer(
                (layer.own[0][index][:, :, first:], layer.own[1][index][:, :, first:]),
                (layer.read[0][index][:, :, :width], layer.read[1][index][:, :, :width]),
            )
            for layer in self._layers
        ]

    def join(self, other: Crowd[O]) -> None:
        """Takes the rows of another crowd in, whatever the lengths of both."""
        said = max(self._said.shape[1], other._said.shape[1])
        seen = max(self._seen.shape[1], other._seen.shape[1])
        for crowd in (self, other):
            crowd._widen(said, seen)
        self.rows += other.rows
        self._hidden = torch.cat([self._hidden, other._hidden])
        self._seen, self._said = torch.cat([self._seen, other._seen]), torch.cat([self._said, other._said])
        self._layers = [
            Layer(_joined(mine.own, yours.own), _joined(mine.read, yours.read))
            for mine, yours in zip(self._layers, other._layers, strict=True)
        ]

    def _widen(self, said: int, seen: int) -> None:
        left, right = said - self._said.shape[1], seen - self._seen.shape[1]
        self._said, self._seen = pad(self._said, (left, 0)), pad(self._seen, (0, right))
        self._hidden = pad(self._hidden, (0, 0, 0, right))
        for layer in self._layers:
            layer.own = _padded(layer.own, left, 0)
            layer.read = _padded(layer.read, 0, right)


def _used(mask: Tensor) -> slice:
    """From the first to the last place that any row has."""
    places = mask.any(dim=0).nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _padded(pair: tuple[Tensor, Tensor], left: int, right: int) -> tuple[Tensor, Tensor]:
    return pad(pair[0], (0, 0, left, right)), pad(pair[1], (0, 0, left, right))


def _joined(mine: tuple[Tensor, Tensor], yours: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([mine[0], yours[0]]), torch.cat([mine[1], yours[1]])


def _layers(cache: Any) -> list[Layer]:
    pairs = zip(cache.self_attention_cache.layers, cache.cross_attention_cache.layers, strict=True)
    return [Layer((own.keys, own.values), (read.keys, read.values)) for own, read in pairs]


def _cache(layers: Sequence[Layer]) -> Any:
    return EncoderDecoderCache(
        DynamicCache([layer.own for layer in layers]), DynamicCache([layer.read for layer in layers])
    )
