"""How close the calls were: the scores that decided each token, from one plain forward pass of the model.

The margin of a token is what it has over the second best, after penalties, temperature and noise. A resumed answer
can part from the undisturbed one only where a margin is smaller than what the shape of a batch moves a score by.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from queuechat.protocol import Sampling
from workers.sampling import History, needs_history, shaped


def scores(model: Any, prompt_ids: list[int], ids: list[int], sampling: Sampling) -> Tensor:
    """[len(ids) + 1, vocab] of the places in an answer of `ids`."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt_ids, *ids]]), use_cache=False).logits[0].float()
        rows = logits[len(prompt_ids) - 1 :].clone()
        for place in range(len(rows)):
            history = _history(prompt_ids, ids[:place], sampling, rows.shape[1])
            shaped(rows[place : place + 1], [sampling], [place], [history])
    return rows


def margins(model: Any, prompt_ids: list[int], ids: list[int], sampling: Sampling) -> list[float]:
    """By how much each of the ids won; negative where this forward pass would have chosen another."""
    if not ids:
        return []
    rows = scores(model, prompt_ids, ids, sampling)[: len(ids)]
    chosen = rows.gather(1, torch.tensor(ids)[:, None])
    others = rows.scatter(1, torch.tensor(ids)[:, None], -torch.inf).amax(dim=1, keepdim=True)
    found: list[float] = (chosen - others).flatten().tolist()
    return found


def _history(prompt_ids: list[int], ids: list[int], sampling: Sampling, vocab: int) -> History | None:
    if not needs_history(sampling):
        return None
    history = History.empty(vocab, "cpu")
    history.add(prompt_ids, output=False)
    history.add(ids, output=True)
    return history
