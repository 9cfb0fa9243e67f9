"""Encoder-decoder models: what transformers itself would have them say, alone and in any company."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import ContextLengthExceeded, Misconfigured
from queuechat.protocol import Grammar, Sampling
from tests.workers.engines import tiny_seq2seq
from tests.workers.engines.driver import GREEDY, Driver
from workers.engines.base import Prompt

pytest.importorskip("torch")
pytest.importorskip("transformers")

WARM = Sampling(temperature=0.9, top_p=0.95, repetition_penalty=1.1, presence_penalty=0.4, seed=5)
LENGTH = 10
TEXTS = ["once upon a time", "the quick brown fox jumps over the lazy dog", "a", "what is in the river"]


async def opened(folder: Path, **options: Any) -> Driver:
    from workers.engines.seq2seq import Seq2SeqEngine

    engine = Seq2SeqEngine(str(folder), device="cpu", dtype="float32", max_running=8, **options)
    await asyncio.to_thread(engine.start)
    return Driver("seq2seq", engine)


@pytest.fixture(scope="module", params=["T5", "MT5", "UMT5", "bart"])
async def speaker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Driver]:
    """An engine with a small model of each kind that is served."""
    folder = tmp_path_factory.mktemp(request.param)
    made = tiny_seq2seq.bart(folder) if request.param == "bart" else tiny_seq2seq.t5(folder, request.param)
    driver = await opened(made)
    yield driver
    await driver.close()


def generated(driver: Driver, text: str) -> list[int]:
    """What transformers says, greedily; the first tokens of the decoder are not of the answer."""
    import torch

    engine: Any = driver.engine
    ids = torch.tensor([driver.engine.vocabulary.encode(text, add_special=True)])
    out = engine._model.generate(ids, do_sample=False, max_new_tokens=LENGTH + 1, eos_token_id=None)
    return [int(id) for id in out[0]][len(engine._opening) :][:LENGTH]


async def test_a_greedy_answer_is_that_of_transformers_itself(speaker: Driver) -> None:
    said = [await speaker.ids(text, LENGTH) for text in TEXTS]
    assert said == [generated(speaker, text) for text in TEXTS]
    assert len(set(map(tuple, said))) > 1  # the prompt matters


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
async def test_answers_that_come_and_go_do_not_disturb_each_other(speaker: Driver, sampling: Sampling) -> None:
    lengths = [3, 14, 6, 9, 1, 12]
    texts = [TEXTS[n % len(TEXTS)] for n in range(len(lengths))]
    alone = [await speaker.ids(text, length, sampling=sampling) for text, length in zip(texts, lengths, strict=True)]
    prompts = [
        speaker.prompt(text, length, prefix=said[: n // 2], sampling=sampling)
        for n, (text, length, said) in enumerate(zip(texts, lengths, alone, strict=True))
    ]
    for prompt in prompts[:2]:
        speaker.engine.admit(prompt)
    await speaker.speaking(prompts[1].id)
    leaving = speaker.prompt(TEXTS[3], 40, sampling=sampling)
    for prompt in (leaving, *prompts[2:]):
        speaker.engine.admit(prompt)
    await speaker.speaking(leaving.id)
    speaker.engine.abort(leaving.id)
    together = [(await speaker.finished(prompt.id)).ids for prompt in prompts]
    assert together == [said[len(prompt.prefix_ids) :] for said, prompt in zip(alone, prompts, strict=True)]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
async def test_an_answer_cut_anywhere_goes_on_with_the_same_ids(speaker: Driver, sampling: Sampling) -> None:
    whole = await speaker.ids(TEXTS[0], LENGTH, sampling=sampling)
    for cut in range(1, LENGTH):
        assert await speaker.ids(TEXTS[0], LENGTH, prefix=whole[:cut], sampling=sampling) == whole[cut:]


async def test_a_step_is_of_all_answers_at_once(speaker: Driver) -> None:
    engine: Any = speaker.engine
    steps: list[int] = []
    take = engine._take

    def noted(told: Any) -> None:
        steps.append(len(told))
        take(told)

    engine._take = noted
    await speaker.run(*(speaker.prompt(TEXTS[0], LENGTH) for _ in range(4)))
    engine._take = take
    assert max(steps) > 1


async def test_what_one_request_breaks_is_its_own(speaker: Driver) -> None:
    engine: Any = speaker.engine
    encoder = engine._model.get_encoder()
    forward = encoder.forward

    def picky(*given: Any, **named: Any) -> Any:
        if named["input_ids"].shape[1] > 30:
            raise RuntimeError("too much for this kernel")
        return forward(*given, **named)

    alone = await speaker.ids(TEXTS[0], LENGTH)
    encoder.forward = picky
    bad, good = speaker.prompt(" ".join("xyzw" * 3 for _ in range(3)), LENGTH), speaker.prompt(TEXTS[0], LENGTH)
    told, beside = await speaker.run(bad, good)
    encoder.forward = forward
    assert (told.end.reason, told.end.retryable, told.ids) == ("error", False, [])
    assert beside.ids == alone


async def test_an_engine_at_rest_keeps_nothing_of_the_last_answer(speaker: Driver) -> None:
    engine: Any = speaker.engine
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    prompt = speaker.prompt(TEXTS[0], LENGTH)
    speaker.engine.admit(prompt)
    weakref.finalize(engine._sequences[prompt.id], lambda: loop.call_soon_threadsafe(gone.set))
    await speaker.finished(prompt.id)
    async with asyncio.timeout(speaker.patience_s):
        await gone.wait()


async def test_a_model_that_counts_positions_takes_prompts_and_gives_answers_up_to_its_limit(tmp_path: Path) -> None:
    speaker = await opened(tiny_seq2seq.bart(tmp_path, positions=24))
    engine = speaker.engine
    assert engine.caps.context_length == 48
    with pytest.raises(ContextLengthExceeded, match="25 tokens, and the context holds 24"):
        engine.admit(speaker.prompt("x" * 24, 3))  # and the end
    (answer,) = await speaker.run(speaker.prompt("x" * 10, 100))
    assert (len(answer.ids), answer.end.reason) == (23, "length")  # `</s><s>` are there before it
    (again,) = await speaker.run(speaker.prompt("x" * 10, 100, prefix=answer.ids[:22]))
    assert again.ids == answer.ids[22:]
    await speaker.close()


async def test_distances_have_no_limit_but_what_is_asked_for(tmp_path: Path) -> None:
    speaker = await opened(tiny_seq2seq.t5(tmp_path), max_context=3000)
    assert speaker.engine.caps.context_length == 3000
    await speaker.close()


async def test_spaces_that_are_written_as_marks_stand_in_no_ones_way(tmp_path: Path) -> None:
    speaker = await opened(tiny_seq2seq.t5(tmp_path, marked=True))
    vocabulary = speaker.engine.vocabulary
    held = [
        replace(speaker.prompt("the fox", 60, sampling=replace(WARM, seed=seed)), grammar=grammar)
        for seed, grammar in enumerate(
            [Grammar("choice", '["red", "blue fox"]'), Grammar("regex", "[0-9]{3} [a-f]{4}")]
        )
    ]
    colour, number = [vocabulary.decode(answer.ids) for answer in await speaker.run(*held)]
    assert colour in ("red", "blue fox")
    assert re.fullmatch("[0-9]{3} [a-f]{4}", number)
    (told,) = await speaker.run(speaker.prompt("a river", LENGTH, logprobs=2))
    assert [one.token for one in told.logprobs] == [vocabulary.bytes_of(id) for id in told.ids]
    await speaker.close()


def test_prompts_are_read_together_as_far_as_their_prefixes_and_lengths_allow() -> None:
    from workers.engines.seq2seq import READ_TOKENS, Answer, together

    def answer(length: int, prefix: int = 0) -> Answer:
        return Answer(Prompt("", [3] * length, 9, [3] * prefix))

    short, long, huge = answer(10), answer(READ_TOKENS // 2), answer(READ_TOKENS * 2)
    assert together([]) == []
    assert together([huge, short]) == [huge]
    assert together([short, long, short]) == [short, long]  # a third would be padded to the length of the second
    assert len(together([answer(3, 2), answer(4, 2), answer(4)])) == 2


def test_kinds_that_are_not_served_are_refused_with_those_that_are(tmp_path: Path) -> None:
    import transformers

    from workers.engines.seq2seq_model import is_seq2seq, load_seq2seq

    transformers.PegasusConfig(vocab_size=10).save_pretrained(tmp_path)
    assert is_seq2seq(str(tmp_path))
    with pytest.raises(Misconfigured, match=r"type 'pegasus'; those that are served are bart, mbart, mt5, t5, umt5"):
        load_seq2seq(str(tmp_path), device="cpu")
