"""How likely a model found tokens: log_softmax of its logits as they came, before anything was done to them."""

from __future__ import annotations

import torch
from torch import Tensor


def likelihoods(logits: Tensor, taken: Tensor, alternatives: int) -> tuple[Tensor, Tensor]:
    """Ids and log probabilities, both [rows, 1 + alternatives]: first the token taken, then the likeliest in order.

    Args:
        logits: [rows, vocab] float32.
        taken: [rows] int64, the token that each row took.
        alternatives: 0 or more.
    """
    likeliest = torch.topk(logits, min(alternatives, logits.shape[1]), dim=-1).indices
    ids = torch.cat([taken[:, None], likeliest], dim=1)
    return ids, logits.gather(1, ids) - torch.logsumexp(logits, dim=-1, keepdim=True)
