"""How likely a model finds the tokens of a prompt: one forward pass beside the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from workers.engines.hf_model import WARM_UP
from workers.logprobs import likelihoods

_ROWS = 256  # whose logits are there at a time: those of a whole prompt may be gigabytes


def has_plain_head(model: Any) -> bool:
    """Whether its logits are its output embedding of the last hidden states, and nothing is done to them after."""
    ids = torch.tensor([WARM_UP], device=model.device)
    with torch.inference_mode():
        head = model.get_output_embeddings()
        if head is None:
            return False
        own = model(input_ids=ids, use_cache=False).logits
        return bool(torch.allclose(head(_hidden(model, ids)).float(), own[0].float(), rtol=1e-3, atol=1e-3))


def scores_of(model: Any, ids: Sequence[int], alternatives: int) -> Iterator[tuple[list[int], list[float]]]:
    """Of each token but the first: ids and log probabilities, its own first, then the likeliest in order."""
    tokens = torch.tensor([list(ids)], device=model.device)
    with torch.inference_mode():
        hidden, head = _hidden(model, tokens), model.get_output_embeddings()
        for start in range(0, len(ids) - 1, _ROWS):
            taken = tokens[0, start + 1 : start + 1 + _ROWS]
            found, values = likelihoods(head(hidden[start : start + len(taken)]).float(), taken, alternatives)
            yield from zip(found.tolist(), values.tolist(), strict=True)


def _hidden(model: Any, ids: Tensor) -> Tensor:
    last: Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return last[0]
