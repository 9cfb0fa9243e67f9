"""Log probabilities of the transformers engine against a plain forward pass, and the pure function below them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuechat.protocol import Grammar, Sampling
from tests.workers.engines.driver import GREEDY, Driver

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

RIVER = "Once upon a time there was a river that"
PENALISED = Sampling(temperature=0.7, seed=3, repetition_penalty=1.5, frequency_penalty=0.5, top_k=5)


@pytest.mark.parametrize(
    ("sampling", "grammar"),
    [(GREEDY, None), (PENALISED, None), (Sampling(seed=2), Grammar("regex", "[0-9]{4} [A-Z]{4}"))],
    ids=["greedy", "penalised", "grammar"],
)
async def test_logprobs_equal_those_of_a_plain_forward_pass(
    hf: Driver, plain: Any, sampling: Sampling, grammar: Grammar | None
) -> None:
    prompt = hf.prompt(RIVER, 12, sampling=sampling, logprobs=4, grammar=grammar)
    beside = hf.prompt("Something else", 12)
    answer, _ = await hf.run(prompt, beside)
    assert len(answer.logprobs) == len(answer.ids) > 5
    with torch.inference_mode():
        logits = plain(torch.tensor([[*prompt.prompt_ids, *answer.ids]])).logits[0]
    likely = torch.log_softmax(logits[len(prompt.prompt_ids) - 1 : -1], dim=-1)
    for row, id, told in zip(likely, answer.ids, answer.logprobs, strict=True):
        assert told.logprob == pytest.approx(row[id].item(), abs=1e-3)
        likeliest = row.topk(4)
        assert [value for _, value in told.top] == pytest.approx(likeliest.values.tolist(), abs=1e-3)


@pytest.mark.parametrize("repeat", [1, 40])
async def test_a_prompt_is_scored_as_by_a_plain_forward_pass(hf: Driver, plain: Any, repeat: int) -> None:
    from workers.engines.transformers import TransformersEngine

    engine, ids = hf.engine, hf.prompt(RIVER * repeat, 1).prompt_ids
    assert isinstance(engine, TransformersEngine)
    assert engine.caps.scores
    beside = hf.prompt("Something else", 12)
    engine.admit(beside)
    first, *told = await asyncio.to_thread(engine.score, ids, 3)
    await hf.finished(beside.id)
    assert first.logprob is None
    with torch.inference_mode():
        likely = torch.log_softmax(plain(torch.tensor([ids])).logits[0, :-1], dim=-1)
    for row, id, one in zip(likely, ids[1:], told, strict=True):
        assert one.logprob == pytest.approx(row[id].item(), abs=1e-3)
        assert [value for _, value in one.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-3)


async def test_a_resumed_answer_tells_the_logprobs_of_what_is_new(hf: Driver) -> None:
    (whole,) = await hf.run(hf.prompt(RIVER, 8, logprobs=2))
    (resumed,) = await hf.run(hf.prompt(RIVER, 8, prefix=whole.ids[:3], logprobs=2))
    assert [one.token for one in resumed.logprobs] == [one.token for one in whole.logprobs[3:]]
    assert [one.logprob for one in resumed.logprobs] == pytest.approx(
        [one.logprob for one in whole.logprobs[3:]], abs=1e-3
    )
