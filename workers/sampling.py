"""How the next token is drawn: pure functions of logits, parameters, history and a counter.

Order, as in transformers and vLLM: logit_bias, repetition penalty, presence and frequency penalties, what a grammar
allows, temperature, top_k, top_p, min_p, then Gumbel noise; the token is the argmax (Gumbel-max: exactly a draw from
the softmax). The noise of a token is a hash of (seed, choice, output position, token id), so neither the neighbours in
a batch nor a restart in the middle of an answer can change it. Temperature 0 is greedy: no noise and no filter.

Everything works on `logits` of shape [rows, vocab] in float32. A filter costs only the rows that ask for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from queuechat.errors import UnsupportedParameter
from queuechat.protocol import Sampling

GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
COLDEST = 1e-5  # temperatures below are greedy: float32 cannot divide by them
NUCLEUS_GUESS = 1024  # top_p of real text rarely needs more candidates; sorting 50,000 costs 30 times as much


@dataclass(slots=True)
class History:
    """What one sequence has said: `seen` [vocab] bool in prompt or output, `counts` [vocab] float32 in the output."""

    seen: Tensor
    counts: Tensor

    @classmethod
    def empty(cls, vocab: int, device: Any) -> History:
        return cls(
            torch.zeros(vocab, dtype=torch.bool, device=device),
            torch.zeros(vocab, dtype=torch.float32, device=device),
        )

    def add(self, ids: Sequence[int], *, output: bool) -> None:
        """Counts tokens of the prompt or of the output."""
        if not ids:
            return
        index = torch.tensor(ids, dtype=torch.int64, device=self.seen.device)
        self.seen[index] = True
        if output:
            self.counts.index_add_(0, index, torch.ones_like(index, dtype=torch.float32))


def needs_history(sampling: Sampling) -> bool:
    """Whether a parameter looks at what was said before."""
    return sampling.repetition_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0


def refuse_unusable(sampling: Sampling, vocab: int) -> None:
    """Raises UnsupportedParameter, naming the parameter, for values that none of this is defined for."""
    usable = {
        "temperature": 0 <= sampling.temperature < math.inf,
        "top_p": 0 < sampling.top_p <= 1,
        "top_k": sampling.top_k >= 0,
        "min_p": 0 <= sampling.min_p <= 1,
        "repetition_penalty": 0 < sampling.repetition_penalty < math.inf,
        "presence_penalty": math.isfinite(sampling.presence_penalty),
        "frequency_penalty": math.isfinite(sampling.frequency_penalty),
        "logit_bias": all(0 <= id < vocab and math.isfinite(by) for id, by in sampling.logit_bias.items()),
    }
    for name, good in usable.items():
        if not good:
            raise UnsupportedParameter(f"{name} cannot be {getattr(sampling, name)} for this model", param=name)


def shaped(
    logits: Tensor,
    rows: Sequence[Sampling],
    positions: Sequence[int],
    histories: Sequence[History | None],
    masks: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """Logits whose argmax is the token to take; changed in place.

    Args:
        logits: [rows, vocab] float32.
        rows: the parameters of each row.
        positions: the offset in its output that each row is about to fill.
        histories: what each row said before; None for a row without penalties.
        masks: by row, what its grammar allows: see `keep_allowed`.
    """
    bias(logits, [row.logit_bias for row in rows])
    _penalise_rows(logits, rows, histories)
    if masks:
        _filter_allowed(logits, masks)
    _each(logits, [i for i, row in enumerate(rows) if row.temperature > COLDEST], rows, positions)
    return logits


def _each(logits: Tensor, drawn: list[int], rows: Sequence[Sampling], positions: Sequence[int]) -> None:
    """Temperature, filters and noise for the rows that are not greedy."""
    if not drawn:
        return
    part = _take(logits, drawn)
    active = [rows[i] for i in drawn]
    part /= _column([row.temperature for row in active], part)
    _filter(part, [row.top_k for row in active], lambda k: 0 < k < part.shape[1], keep_top_k)
    _filter(part, [row.top_p for row in active], lambda p: p < 1, keep_top_p)
    _filter(part, [row.min_p for row in active], lambda p: p > 0, keep_min_p)
    keys = [stream_key(rows[i].seed, rows[i].choice, positions[i]) for i in drawn]
    part += gumbel(torch.tensor(keys, dtype=torch.int64, device=part.device), part.shape[1])
    _put(logits, drawn, part)


def bias(logits: Tensor, biases: Sequence[dict[int, float]]) -> None:
    """Adds `logit_bias` ({token id: bias} per row) in place."""
    at = [(row, token, value) for row, given in enumerate(biases) for token, value in given.items()]
    if at:
        row, token, value = (list(column) for column in zip(*at, strict=True))
        where = (torch.tensor(row, device=logits.device), torch.tensor(token, device=logits.device))
        logits.index_put_(where, torch.tensor(value, dtype=logits.dtype, device=logits.device), accumulate=True)


def _penalise_rows(logits: Tensor, rows: Sequence[Sampling], histories: Sequence[History | None]) -> None:
    found = [(i, history) for i, history in enumerate(histories) if history is not None]
    if not found:
        return
    index = [i for i, _ in found]
    part = _take(logits, index)
    penalise(
        part,
        seen=torch.stack([history.seen for _, history in found]),
        counts=torch.stack([history.counts for _, history in found]),
        repetition=_column([rows[i].repetition_penalty for i in index], part),
        presence=_column([rows[i].presence_penalty for i in index], part),
        frequency=_column([rows[i].frequency_penalty for i in index], part),
    )
    _put(logits, index, part)


def penalise(
    logits: Tensor, *, seen: Tensor, counts: Tensor, repetition: Tensor, presence: Tensor, frequency: Tensor
) -> None:
    """The three penalties, in place. `seen` and `counts` are [rows, vocab], the penalties [rows, 1].

    Repetition as in CTRL (Keskar et al. 2019, https://arxiv.org/abs/1909.05858), over prompt and output: positive
    logits are divided, negative multiplied. Presence and frequency as OpenAI defines them, over the output only:
    logit -= presence * (count > 0) + frequency * count.
    """
    factor = torch.where(logits > 0, 1 / repetition, repetition)
    logits *= torch.where(seen, factor, torch.ones_like(factor))
    logits -= presence * (counts > 0) + frequency * counts


def _filter_allowed(logits: Tensor, masks: Mapping[int, Tensor]) -> None:
    index = list(masks)
    part = _take(logits, index)
    keep_allowed(part, torch.stack([masks[i] for i in index]).to(logits.device))
    _put(logits, index, part)


def keep_allowed(logits: Tensor, masks: Tensor) -> None:
    """Masks all but the allowed tokens, in place. `masks` is [rows, ceil(vocab / 32)] int32, a bit for each token."""
    bits = masks[:, :, None] >> torch.arange(32, dtype=torch.int32, device=masks.device) & 1
    logits.masked_fill_(bits.reshape(len(masks), -1)[:, : logits.shape[1]] == 0, -torch.inf)


def keep_top_k(logits: Tensor, k: Tensor) -> None:
    """Masks all but the `k` ([rows, 1], at least 1) largest logits of each row, in place; ties at the edge stay."""
    k = k.to(torch.int64)
    largest = torch.topk(logits, int(k.max()), dim=-1).values
    logits.masked_fill_(logits < largest.gather(1, k - 1), -torch.inf)


def keep_top_p(logits: Tensor, p: Tensor) -> None:
    """Masks all but the smallest set of tokens whose probabilities reach `p` ([rows, 1]), in place.

    Nucleus sampling (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751); the most likely token always stays.
    """
    total = torch.logsumexp(logits, dim=-1, keepdim=True)
    width = min(NUCLEUS_GUESS, logits.shape[1]) if logits.device.type == "cpu" else logits.shape[1]
    edge, complete = _nucleus_edge(logits, total, p, width)
    if not complete:
        edge, _ = _nucleus_edge(logits, total, p, logits.shape[1])
    logits.masked_fill_(logits < edge, -torch.inf)


def _nucleus_edge(logits: Tensor, total: Tensor, p: Tensor, width: int) -> tuple[Tensor, bool]:
    """The smallest logit of the nucleus, [rows, 1], looking at the `width` largest; whether that was enough."""
    whole = width == logits.shape[1]
    top = logits.sort(dim=-1, descending=True).values if whole else torch.topk(logits, width, dim=-1).values
    before = torch.cumsum(torch.exp(top - total), dim=-1)
    size = (before < p).sum(dim=-1, keepdim=True)
    return top.gather(1, size.clamp(max=width - 1)), whole or bool((size < width).all())


def keep_min_p(logits: Tensor, p: Tensor) -> None:
    """Masks tokens less likely than `p` ([rows, 1]) times the most likely one, in place (arXiv:2407.01082)."""
    logits.masked_fill_(logits < logits.amax(dim=-1, keepdim=True) + torch.log(p), -torch.inf)


def stream_key(seed: int, choice: int, position: int) -> int:
    """The signed 64-bit key of the noise at one place of one answer."""
    key = 0
    for word in (seed, choice, position):
        key = _splitmix(key ^ (word & 0xFFFF_FFFF_FFFF_FFFF))
    return _signed(key)


def gumbel(keys: Tensor, vocab: int) -> Tensor:
    """Standard Gumbel noise, [rows, vocab] float32, a pure function of `keys` ([rows] int64) and the token id.

    The integers below it are the same on every device; the two logarithms may differ in the last bit.
    """
    # A small u decides which token wins, so it keeps its relative precision: float of the integer, not of 1 - u.
    u = _shifted(splitmix64(keys, vocab), 33).to(torch.float32).add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    return u.neg_().log1p_().neg_().log_().neg_()


def splitmix64(keys: Tensor, count: int) -> Tensor:
    """The first outputs, [rows, count] int64, of one generator SplitMix64 per seed in `keys` ([rows] int64).

    Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. Output v is a hash of
    seed + v * gamma, so all of them can be had at once.
    """
    steps = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device)
    z = keys[:, None] + steps * _signed(GAMMA)
    z ^= _shifted(z, 30)
    z *= _signed(MIX_1)
    z ^= _shifted(z, 27)
    z *= _signed(MIX_2)
    z ^= _shifted(z, 31)
    return z


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch has only the arithmetic one for int64."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _splitmix(state: int) -> int:
    z = (state + GAMMA) & 0xFFFF_FFFF_FFFF_FFFF
    z = (z ^ (z >> 30)) * MIX_1 & 0xFFFF_FFFF_FFFF_FFFF
    z = (z ^ (z >> 27)) * MIX_2 & 0xFFFF_FFFF_FFFF_FFFF
    return z ^ (z >> 31)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _filter(
    logits: Tensor,
    values: Sequence[float],
    used: Callable[[float], bool],
    keep: Callable[[Tensor, Tensor], None],
) -> None:
    """Applies a filter to the rows that use it."""
    index = [i for i, value in enumerate(values) if used(value)]
    if index:
        part = _take(logits, index)
        keep(part, _column([values[i] for i in index], logits))
        _put(logits, index, part)


def _take(logits: Tensor, index: list[int]) -> Tensor:
    """These rows: the tensor itself where that is all of them, so that the usual case copies nothing."""
    return logits if len(index) == logits.shape[0] else logits[torch.tensor(index, device=logits.device)]


def _put(logits: Tensor, index: list[int], part: Tensor) -> None:
    if part is not logits:
        logits[torch.tensor(index, device=logits.device)] = part


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
