"""What the transformers engine promises beyond the laws: it agrees with transformers itself, and bears a full cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import ContextLengthExceeded, InvalidRequest, Misconfigured
from queuechat.protocol import Sampling
from tests.workers.engines.conftest import first_layers, smollm, started, transformers
from tests.workers.engines.driver import Driver
from tests.workers.engines.lora import LAYERS

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

RIVER = "Once upon a time there was a river that"
FOX = "The quick brown fox jumps over the lazy dog. Then the fox"
TIGHT_CONTEXT = 128


@pytest.fixture(scope="module")
async def tight() -> AsyncIterator[Driver]:
    """A cache with room for one and a half sequences of full length."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("workers.engines.hf_model.CPU_CACHE_BYTES", int(1.5 * TIGHT_CONTEXT * LAYERS * 1_536))
        driver = await started("transformers", transformers(4, TIGHT_CONTEXT, Path(first_layers().name)))
    yield driver
    await driver.close()


@pytest.mark.parametrize("text", [RIVER, FOX])
async def test_greedy_equals_generate(hf: Driver, plain: Any, text: str) -> None:
    ids = hf.engine.vocabulary.encode(text, add_special=True)
    whole = plain.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12)[0].tolist()
    assert await hf.ids(text, 12) == whole[len(ids) :]


async def test_embeddings_equal_a_plain_forward(hf: Driver, plain: Any) -> None:
    batch = [hf.engine.vocabulary.encode(text, add_special=True) for text in (FOX, RIVER, "tea", FOX)]
    busy = hf.prompt(RIVER, 12)
    hf.engine.admit(busy)
    vectors = await asyncio.to_thread(hf.engine.embed, batch)
    await hf.finished(busy.id)
    for ids, vector in zip(batch, vectors, strict=True):
        assert vector == pytest.approx(_mean(plain.base_model, ids), abs=1e-4)


async def test_a_long_prompt_is_read_in_pieces_and_answered_alike(hf: Driver, plain: Any) -> None:
    text = " ".join(f"{n} {FOX}" for n in range(30))
    ids = hf.engine.vocabulary.encode(text, add_special=True)
    assert len(ids) > 400
    whole = plain.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=6)[0].tolist()
    assert await hf.ids(text, 6) == whole[len(ids) :]


async def test_a_prompt_may_fill_the_context_and_its_answer_ends_there(tight: Driver) -> None:
    prompt = tight.prompt(RIVER, 1_000)
    (transcript,) = await tight.run(prompt)
    assert len(prompt.prompt_ids) + len(transcript.ids) == TIGHT_CONTEXT
    assert transcript.end.reason == "length"


async def test_sequences_that_do_not_fit_together_all_finish_with_the_right_ids(tight: Driver) -> None:
    sampling = Sampling(temperature=0.8, seed=5, repetition_penalty=1.2)
    alone = await tight.ids(RIVER, 30, sampling=sampling)
    crowd = await tight.run(*(tight.prompt(RIVER, 30, sampling=sampling) for _ in range(4)))
    assert [transcript.ids for transcript in crowd] == [alone] * 4


async def test_an_evicted_sequence_goes_on_when_those_that_ran_are_aborted(tight: Driver) -> None:
    running, evicted = (tight.prompt(text, 110) for text in (FOX, RIVER))
    for prompt in (running, evicted):
        tight.engine.admit(prompt)
    scheduler = tight.engine._manager.batch_processor.scheduler  # type: ignore[attr-defined]
    await tight.until(running.id, lambda transcript: scheduler.block_new_requests or bool(transcript.ends))
    assert scheduler.block_new_requests
    tight.engine.abort(running.id)
    assert (await tight.finished(evicted.id)).end.reason == "length"


async def test_a_prompt_beyond_the_context_is_refused(tight: Driver) -> None:
    with pytest.raises(ContextLengthExceeded):
        tight.engine.admit(tight.prompt(" ".join([RIVER] * 30), 5))


async def test_an_id_outside_the_vocabulary_is_refused_and_hurts_nobody(hf: Driver) -> None:
    from dataclasses import replace

    with pytest.raises(InvalidRequest):
        hf.engine.admit(replace(hf.prompt(FOX, 3), prompt_ids=[1, 2_000_000]))
    assert len(await hf.ids(FOX, 3)) == 3


def test_a_model_that_leaves_attention_to_nobody_is_not_batched() -> None:
    from transformers import GPTJConfig, GPTJForCausalLM, LlamaConfig, LlamaForCausalLM

    from workers.engines.hf_model import refuse_unpaged

    refuse_unpaged(LlamaForCausalLM(LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)), "new")
    with pytest.raises(Misconfigured, match="attention of its own"):
        refuse_unpaged(GPTJForCausalLM(GPTJConfig(n_embd=8, n_layer=1, n_head=2, rotary_dim=2)), "old")


def test_a_model_that_is_not_there_is_misconfigured() -> None:
    from workers.engines.transformers import TransformersEngine

    for source in ("/does/not/exist", "/does/not/exist.gguf"):
        with pytest.raises(Misconfigured):
            TransformersEngine(source, device="cpu").start()


@pytest.mark.parametrize("odd", [{"layer_types": ["full_attention", "linear_attention"]}, {"is_encoder_decoder": True}])
def test_models_that_cannot_be_batched_say_so(odd: dict[str, Any]) -> None:
    from transformers import PreTrainedConfig

    from workers.engines.hf_model import refuse_unbatchable

    with pytest.raises(Misconfigured, match="another engine"):
        refuse_unbatchable(PreTrainedConfig(**odd), "odd")


def test_a_gguf_is_converted_once() -> None:
    from workers.convert import converted

    folder = converted(smollm())
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert converted(smollm()) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= names


def _mean(model: Any, ids: list[int]) -> list[float]:
    with torch.inference_mode():
        mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
    values: list[float] = (mean / mean.norm()).tolist()
    return values


@pytest.mark.parametrize("work", ["score", "embed"])
async def test_what_is_read_beside_the_batch_gives_signs_of_life(
    hf: Driver, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr("workers.engines.pulse.EVERY_S", 0.0)
    engine: Any = hf.engine
    before, ids = hf.sizes.count(0), [1, 2, 3]
    await (asyncio.to_thread(engine.score, ids, 0) if work == "score" else asyncio.to_thread(engine.embed, [ids]))
    monkeypatch.undo()
    await hf.ids("and", 1)  # its steps come after those
    assert hf.sizes.count(0) - before >= engine._model.config.num_hidden_layers


async def test_chats_with_one_beginning_have_it_read_once(hf: Driver) -> None:
    beginning = " ".join(f"{n} {RIVER}" for n in range(16))
    texts = [f"{beginning} {tail}" for tail in ("the sea", "a hill", "nobody", "three of us", "a town", "the river")]
    prompts = [hf.prompt(text, 2) for text in texts]
    read: list[int] = []
    model = hf.engine._model  # type: ignore[attr-defined]
    hook = model.register_forward_pre_hook(lambda *seen: read.append(seen[2]["input_ids"].numel()), with_kwargs=True)
    try:
        together = [transcript.ids for transcript in await hf.run(*prompts)]
    finally:
        hook.remove()
    assert 2 * sum(read) < sum(len(prompt.prompt_ids) for prompt in prompts)
    for text, ids in list(zip(texts, together, strict=True))[::3]:
        hf.engine._manager.batch_processor.cache.evict_cached_blocks()  # type: ignore[attr-defined]
        assert await hf.ids(text, 2) == ids
