"""LoRA adapters on one base model: each answers as peft's own merged model does, alone, in a crowd, and resumed."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from queuechat.errors import Misconfigured, UnsupportedParameter
from queuechat.protocol import Sampling
from tests.workers.engines.conftest import started
from tests.workers.engines.driver import Driver
from tests.workers.engines.lora import CONFIGS, greedy, saved_adapter, short_model
from workers.engines.base import Prompt, Tokens

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("transformers")

STORY = (
    "Once upon a time, in a land far away, there was a river that nobody had ever crossed, and by this river lived " * 2
)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("short")
    return folder, short_model(folder)


@pytest.fixture(scope="module")
def made(short: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Adapters, each with the model that peft merges it into."""
    folders = {name: tmp_path_factory.mktemp(name) for name in CONFIGS}
    return {name: (folder, saved_adapter(short[1], name, folder)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
async def dressed(short: tuple[Path, Any], made: dict[str, tuple[Path, Any]]) -> AsyncIterator[Driver]:
    """One base model with both adapters."""
    from workers.engines.transformers import TransformersEngine

    engine = TransformersEngine(
        str(short[0]),
        device="cpu",
        dtype="float32",
        max_running=16,
        max_context=512,
        lora={name: str(folder) for name, (folder, _) in made.items()},
    )
    driver = await started("transformers", engine)
    yield driver
    await driver.close()


@pytest.fixture
def answer(short: tuple[Path, Any], made: dict[str, tuple[Path, Any]]) -> Callable[[Prompt], list[int]]:
    """What the merged model of a prompt's adapter says, greedily."""

    def of(prompt: Prompt) -> list[int]:
        model = made[prompt.adapter][1] if prompt.adapter else short[1]
        return greedy(model, list(prompt.prompt_ids), prompt.max_new)

    return of


def wearing(driver: Driver, adapter: str, text: str, max_new: int = 20, **fields: Any) -> Prompt:
    return replace(driver.prompt(text, max_new, **fields), adapter=adapter)


@pytest.mark.parametrize("adapter", CONFIGS)
async def test_an_adapter_alone_answers_as_the_merged_model(
    dressed: Driver, answer: Callable[[Prompt], list[int]], adapter: str
) -> None:
    prompt = wearing(dressed, adapter, "The sea is")
    (transcript,) = await dressed.run(prompt)
    assert transcript.ids == answer(prompt)
    assert transcript.ids != answer(replace(prompt, adapter=""))


async def test_adapters_and_the_base_share_steps_and_each_answers_as_it_would_alone(
    dressed: Driver, answer: Callable[[Prompt], list[int]]
) -> None:
    texts = ("The sea is", "A king is a man who", "My favourite colour")
    prompts = [wearing(dressed, adapter, text) for text in texts for adapter in ("", "bard", "pirate")]
    transcripts = await dressed.run(*prompts)
    assert [transcript.ids for transcript in transcripts] == [answer(prompt) for prompt in prompts]
    events = [event for event in dressed.events if event.id in {prompt.id for prompt in prompts}]
    before_any_end = itertools.takewhile(lambda event: isinstance(event, Tokens), events)
    assert {event.id for event in before_any_end} == {prompt.id for prompt in prompts}


async def test_a_prefix_that_is_cached_under_one_adapter_serves_no_other(
    dressed: Driver, answer: Callable[[Prompt], list[int]]
) -> None:
    cache = dressed.engine._manager.batch_processor.cache  # type: ignore[attr-defined]
    assert cache.use_prefix_sharing
    matches: list[int] = []
    searched = cache.search_prefix_match

    def search(request_id: str, prompt_ids: list[int]) -> int:
        matches.append(searched(request_id, prompt_ids))
        return matches[-1]

    cache.search_prefix_match = search
    try:
        for adapter in ("pirate", "", "bard", "pirate", "", "bard"):
            prompt = wearing(dressed, adapter, STORY, 8)
            (transcript,) = await dressed.run(prompt)
            assert transcript.ids == answer(prompt)
    finally:
        cache.search_prefix_match = searched
    assert matches[:3] == [0, 0, 0]
    assert all(match >= 32 for match in matches[3:])


@pytest.mark.parametrize("cut", [1, 7, 19])
async def test_a_cut_answer_of_an_adapter_goes_on_with_the_same_tokens(dressed: Driver, cut: int) -> None:
    sampling = Sampling(temperature=0.8, seed=3)
    (whole,) = await dressed.run(wearing(dressed, "bard", "The sea is", sampling=sampling))
    rest = wearing(dressed, "bard", "The sea is", sampling=sampling, prefix=whole.ids[:cut])
    crowd = [wearing(dressed, adapter, "A king", 12) for adapter in ("pirate", "", "bard")]
    resumed, *_ = await dressed.run(rest, *crowd)
    assert resumed.ids == whole.ids[cut:]


async def test_embeddings_and_scores_wear_the_adapter_that_is_asked_for(
    dressed: Driver, made: dict[str, tuple[Path, Any]]
) -> None:
    ids = dressed.engine.vocabulary.encode("The sea is wide", add_special=True)
    engine: Any = dressed.engine

    def under(adapter: str) -> tuple[list[float], list[float]]:
        with engine.wearing(adapter):
            (vector,) = engine.embed([ids])
            return vector, [one.logprob for one in engine.score(ids, 0)[1:]]

    dressed.engine.admit(wearing(dressed, "pirate", "Meanwhile", 10))
    for adapter, (_, model) in made.items():
        vector, scores = await asyncio.to_thread(under, adapter)
        with torch.inference_mode():
            hidden = model.base_model(torch.tensor([ids])).last_hidden_state[0].mean(0)
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        assert vector == pytest.approx((hidden / hidden.norm()).tolist(), abs=1e-4)
        assert scores == pytest.approx([float(logprobs[n, id]) for n, id in enumerate(ids[1:])], abs=1e-3)
    assert (await asyncio.to_thread(under, ""))[0] == engine.embed([ids])[0]


async def test_an_adapter_that_was_not_loaded_is_refused(dressed: Driver) -> None:
    with pytest.raises(UnsupportedParameter, match="no adapter 'poet'"):
        dressed.engine.admit(wearing(dressed, "poet", "The sea is"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save="),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"peft_type": "IA3"}, "not of the type LORA"),
        ({"task_type": "SEQ_CLS"}, "task_type='SEQ_CLS'"),
        ({"something_of_next_year": 1}, "something_of_next_year=1"),
    ],
)
def test_what_an_adapter_asks_for_beyond_lora_is_refused_by_name(
    made: dict[str, tuple[Path, Any]], tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    from workers.engines.adapter_files import read_adapter

    folder = shutil.copytree(made["pirate"][0], tmp_path / "odd")
    config = orjson.loads((folder / "adapter_config.json").read_bytes())
    (folder / "adapter_config.json").write_bytes(orjson.dumps(config | change))
    with pytest.raises(Misconfigured, match="adapter 'odd'") as caught:
        read_adapter("odd", folder)
    assert says in caught.value.message


def test_an_adapter_in_a_pickle_is_not_opened(made: dict[str, tuple[Path, Any]], tmp_path: Path) -> None:
    from workers.engines.adapter_files import read_adapter

    folder = shutil.copytree(made["pirate"][0], tmp_path / "pickled")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(Misconfigured, match="is a pickle"):
        read_adapter("pickled", folder)
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_adapter("pickled", folder)


@pytest.mark.parametrize(("width", "says"), [(64, "goes from 576 to 576 features here"), (None, "has no layer")])
def test_an_adapter_of_another_model_is_refused(
    short: tuple[Path, Any], made: dict[str, tuple[Path, Any]], tmp_path: Path, width: int | None, says: str
) -> None:
    from safetensors.torch import save_file

    from workers.engines.adapters import adapters_of

    folder = shutil.copytree(made["pirate"][0], tmp_path / "foreign")
    layer = "base_model.model.model.layers.0.self_attn.q_proj" if width else "base_model.model.transformer.h.0.attn"
    tensors = {f"{layer}.lora_A.weight": torch.zeros(4, width or 576), f"{layer}.lora_B.weight": torch.zeros(576, 4)}
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(Misconfigured, match="for another model") as caught:
        adapters_of(short[1], {"foreign": str(folder)})
    assert says in caught.value.message
