"""Sampling against naive references, and the noise against the distribution that it must have."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from queuechat.errors import UnsupportedParameter  # noqa: E402
from queuechat.protocol import Sampling  # noqa: E402
from workers.sampling import History, gumbel, keep_top_p, refuse_unusable, shaped, splitmix64, stream_key  # noqa: E402

VOCAB = 500
PLAIN = Sampling(temperature=1.0, seed=3)


def logits(rows: int, vocab: int = VOCAB, seed: int = 0) -> Any:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 3


def noise(seed: int, choice: int, positions: range, vocab: int = VOCAB) -> Any:
    return gumbel(torch.tensor([stream_key(seed, choice, position) for position in positions]), vocab)


def kept(scores: Any, sampling: Sampling) -> list[int]:
    """The tokens that the filters of one row leave."""
    row = shaped(scores.clone()[None], [sampling], [0], [None])[0]
    return [token for token, score in enumerate(row.tolist()) if math.isfinite(score)]


def test_draws_over_many_positions_follow_the_softmax() -> None:
    probabilities = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.04, 0.01])
    draws = 40_000
    drawn = (probabilities.log() + noise(1, 0, range(draws), len(probabilities))).argmax(-1)
    observed = torch.bincount(drawn, minlength=len(probabilities)).double()
    chi_square = ((observed - draws * probabilities) ** 2 / (draws * probabilities)).sum()
    assert chi_square < 20.5  # the 99.9 % point with 5 degrees of freedom; the noise has no other source of chance


def test_draws_over_many_seeds_and_choices_follow_the_softmax() -> None:
    keys = torch.tensor([stream_key(seed, choice, 17) for seed in range(5_000) for choice in range(4)])
    drawn = gumbel(keys, 8).argmax(-1)
    observed = torch.bincount(drawn, minlength=8).double()
    assert ((observed - 2_500) ** 2 / 2_500).sum() < 24.3  # 99.9 %, 7 degrees of freedom


def test_noise_is_standard_gumbel_and_finite() -> None:
    sample = noise(5, 0, range(200), 5_000).double()
    assert torch.isfinite(sample).all()
    assert sample.mean().item() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert sample.var().item() == pytest.approx(math.pi**2 / 6, abs=0.01)


def test_noise_of_neighbouring_positions_is_uncorrelated() -> None:
    sample = noise(5, 0, range(2_000), 50)
    pairs = torch.stack([sample[:-1].flatten(), sample[1:].flatten()])
    assert abs(torch.corrcoef(pairs)[0, 1].item()) < 0.02


def test_the_generator_is_splitmix64() -> None:
    first, second = splitmix64(torch.tensor([1234567]), 2)[0].tolist()
    assert first == 6457827717110365317  # the values of the reference implementation for this seed
    assert second == 3203168211198807973


def test_noise_stays_what_it_was_in_earlier_releases() -> None:
    assert stream_key(1, 2, 3) == -3426316478316322125
    assert noise(7, 0, range(1), 3)[0].tolist() == pytest.approx([1.669056, 1.464112, -1.126825], abs=1e-5)


def test_seed_choice_and_position_each_make_other_noise() -> None:
    first = noise(1, 0, range(1))
    for other in (noise(2, 0, range(1)), noise(1, 1, range(1)), noise(1, 0, range(1, 2))):
        assert not torch.equal(first, other)


def test_a_row_comes_out_the_same_alone_and_among_others() -> None:
    scores = logits(6)
    rows = [
        PLAIN,
        Sampling(temperature=0.0),
        replace(PLAIN, temperature=0.7, top_k=5),
        replace(PLAIN, top_p=0.8, min_p=0.05),
        replace(PLAIN, seed=9, repetition_penalty=1.4, presence_penalty=0.5, frequency_penalty=0.2),
        replace(PLAIN, choice=2, logit_bias={4: 6.0}),
    ]
    histories = [_history([1, 2], [3, 3, 4]) if row.repetition_penalty != 1 else None for row in rows]
    positions = [0, 1, 2, 3, 4, 5]
    together = shaped(scores.clone(), rows, positions, histories)
    for i, row in enumerate(rows):
        alone = shaped(scores[i : i + 1].clone(), [row], [positions[i]], [histories[i]])
        assert torch.equal(together[i], alone[0])


def test_temperature_zero_is_greedy_whatever_the_filters_say() -> None:
    scores = logits(1)
    row = Sampling(temperature=0.0, top_k=3, top_p=0.1, min_p=0.9, seed=4)
    assert torch.equal(shaped(scores.clone(), [row], [8], [None]), scores)


def test_top_k_keeps_the_k_largest() -> None:
    scores = logits(1)[0]
    assert kept(scores, replace(PLAIN, top_k=7)) == sorted(scores.topk(7).indices.tolist())


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_smallest_set_that_reaches_p(p: float) -> None:
    scores = logits(1)[0]
    order = scores.argsort(descending=True)
    total, expected = 0.0, []
    for token in order.tolist():
        if total >= p:
            break
        expected.append(token)
        total += scores.softmax(-1)[token].item()
    assert kept(scores, replace(PLAIN, top_p=p)) == sorted(expected)


def test_top_p_is_the_same_when_its_first_guess_was_too_short() -> None:
    flat = torch.linspace(0, 1, 5_000)[None]
    short = flat.clone()
    keep_top_p(short, torch.tensor([[0.9]]))
    left = torch.isfinite(short).sum().item()
    assert flat.softmax(-1).sort(descending=True).values[0, :left].sum().item() == pytest.approx(0.9, abs=1e-3)


def test_min_p_keeps_what_is_likely_enough_beside_the_best() -> None:
    scores = logits(1)[0]
    probabilities = scores.softmax(-1)
    expected = (probabilities >= 0.1 * probabilities.max()).nonzero().flatten().tolist()
    assert kept(scores, replace(PLAIN, min_p=0.1)) == expected


def test_penalties_equal_a_naive_loop() -> None:
    prompt, output = [1, 2, 2, 5], [5, 7, 7, 7, 9]
    sampling = Sampling(temperature=0.0, repetition_penalty=1.5, presence_penalty=0.7, frequency_penalty=0.3)
    scores = logits(1)
    expected = scores[0].tolist()
    for token in range(VOCAB):
        if token in prompt + output:
            expected[token] *= 1.5 if expected[token] < 0 else 1 / 1.5
        if token in output:
            expected[token] -= 0.7 + 0.3 * output.count(token)
    actual = shaped(scores.clone(), [sampling], [len(output)], [_history(prompt, output)])[0]
    assert actual.tolist() == pytest.approx(expected, abs=1e-5)


def test_logit_bias_is_added_before_everything_else() -> None:
    scores = logits(1)
    row = Sampling(temperature=0.0, logit_bias={3: 50.0, 4: -50.0})
    biased = shaped(scores.clone(), [row], [0], [None])[0]
    assert biased.argmax().item() == 3
    assert (biased - scores[0]).nonzero().flatten().tolist() == [3, 4]


@pytest.mark.parametrize(
    ("parameter", "sampling"),
    [
        ("temperature", Sampling(temperature=-1.0)),
        ("temperature", Sampling(temperature=math.nan)),
        ("top_p", Sampling(top_p=0.0)),
        ("top_k", Sampling(top_k=-1)),
        ("min_p", Sampling(min_p=1.5)),
        ("repetition_penalty", Sampling(repetition_penalty=0.0)),
        ("presence_penalty", Sampling(presence_penalty=math.inf)),
        ("frequency_penalty", Sampling(frequency_penalty=math.nan)),
        ("logit_bias", Sampling(logit_bias={VOCAB: 1.0})),
    ],
)
def test_values_without_a_meaning_are_refused_by_name(parameter: str, sampling: Sampling) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        refuse_unusable(sampling, VOCAB)
    assert refusal.value.param == parameter


def _history(prompt: list[int], output: list[int]) -> History:
    history = History.empty(VOCAB, "cpu")
    history.add(prompt, output=False)
    history.add(output, output=True)
    return history


def test_what_a_grammar_forbids_is_never_drawn_and_its_neighbours_are_left_alone() -> None:
    scores = logits(3)
    words = torch.zeros(-(-VOCAB // 32), dtype=torch.int32)
    for token in (5, 31, 63, 499):
        words[token // 32] |= torch.tensor(1 << token % 32, dtype=torch.int64).to(torch.int32)
    rows = [PLAIN, Sampling(temperature=0.0), PLAIN]
    held = shaped(scores.clone(), rows, [0, 0, 0], [None] * 3, {1: words})
    free = shaped(scores.clone(), rows, [0, 0, 0], [None] * 3)
    assert torch.isfinite(held[1]).nonzero().flatten().tolist() == [5, 31, 63, 499]
    assert torch.equal(held[[0, 2]], free[[0, 2]])
