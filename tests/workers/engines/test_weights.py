"""Weights that are quantised, or that do not all fit: the answers stay what they were, or nearly so."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from queuechat.errors import Misconfigured
from tests.workers.engines.conftest import smollm, started, weights
from tests.workers.engines.lora import greedy, short_model
from workers.building import build
from workers.models import resolve

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

SENTENCE = "Paris is the capital of France, and Berlin is the capital of Germany."


def bytes_of(model: Any) -> int:
    """Bytes of all weights, as they are kept."""
    seen: dict[int, int] = {}
    for weight in model.parameters():
        parts = weight.__tensor_flatten__()[0] if hasattr(weight, "__tensor_flatten__") else []
        kept = [getattr(weight, part) for part in parts] or [weight]
        seen[id(weight)] = sum(part.numel() * part.element_size() for part in kept)
    return sum(seen.values())


def perplexity(likely: list[float]) -> float:
    return math.exp(-sum(likely) / len(likely))


def plain_logprobs(model: Any, ids: list[int]) -> list[float]:
    with torch.inference_mode():
        likely = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [float(likely[n, id]) for n, id in enumerate(ids[1:])]


async def test_int8_weights_take_a_third_and_answer_nearly_the_same(plain: Any) -> None:
    pytest.importorskip("torchao")
    engine: Any = build(resolve(str(weights()), engine="transformers", device="cpu", dtype="float32", quantize="int8"))
    driver = await started("transformers", engine)
    try:
        assert (engine.caps.quantization, engine.caps.resume) == ("int8", "exact")
        layers = engine._model.model.layers
        assert bytes_of(layers) < bytes_of(plain.model.layers) / 3
        ids = engine.vocabulary.encode(SENTENCE, add_special=True)
        ours = [one.logprob for one in (await asyncio.to_thread(engine.score, ids, 0))[1:]]
        assert perplexity(ours) == pytest.approx(perplexity(plain_logprobs(plain, ids)), rel=0.05)
        whole = await driver.ids("The capital of France is", 6)
        assert "Paris" in engine.vocabulary.decode(whole)
        assert await driver.ids("The capital of France is", 6, prefix=whole[:3]) == whole[3:]
    finally:
        await driver.close()


async def test_layers_that_fit_nowhere_else_are_read_from_disk_and_answer_the_same(tmp_path: Path) -> None:
    model = short_model(tmp_path / "short")
    spec = resolve(
        str(tmp_path / "short"),
        engine="transformers",
        dtype="float32",
        max_memory="cpu=150MB",
        offload_folder=str(tmp_path / "offload"),
    )
    engine: Any = build(spec)
    driver = await started("transformers", engine)
    try:
        assert engine.caps.device == "cpu"
        assert "disk" in engine._model.hf_device_map.values()
        ids = engine.vocabulary.encode("The sea is", add_special=True)
        assert await driver.ids("The sea is", 8) == greedy(model, ids, 8)
        assert len(engine.embed([ids])[0]) == model.config.hidden_size
    finally:
        await driver.close()


def quantized_checkpoint(folder: Path, told: dict[str, Any]) -> Path:
    from transformers import LlamaConfig

    LlamaConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, vocab_size=100).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(weights() / name, folder)
    config = orjson.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(orjson.dumps(config | {"quantization_config": told}))
    return folder


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


@pytest.mark.parametrize(
    ("told", "package"),
    [
        (GPTQ, "pip install optimum"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "gptqmodel"),
    ],
)
def test_a_checkpoint_that_was_quantised_before_names_the_package_that_it_needs(
    tmp_path: Path, told: dict[str, Any], package: str
) -> None:
    from workers.engines.hf_model import load

    with pytest.raises(Misconfigured, match=f"(?i){package}"):
        load(str(quantized_checkpoint(tmp_path, told)), device="cpu")


def test_what_is_quantised_already_is_not_quantised_again(tmp_path: Path) -> None:
    from transformers import AutoConfig

    from workers.engines.weights import Keeping, kept_as

    config = AutoConfig.from_pretrained(quantized_checkpoint(tmp_path, GPTQ))
    with pytest.raises(Misconfigured, match=r"quantised already \(gptq\)"):
        Keeping("int8").options(config, "cpu", torch.float32)
    assert kept_as(SimpleNamespace(config=config), Keeping()) == "gptq 4-bit"


@pytest.mark.parametrize(
    ("quantize", "device", "says"),
    [
        ("int4", "cpu", "needs CUDA, and this worker computes on cpu"),
        ("int4", "mps", "needs CUDA, and this worker computes on mps"),
        ("int4", "cuda:1", "needs bitsandbytes here"),
        ("int8", "cuda", "needs bitsandbytes here"),
    ],
)
def test_a_quantisation_that_cannot_be_had_here_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, quantize: str, device: str, says: str
) -> None:
    from workers.engines import weights

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Misconfigured, match=says):
        weights.Keeping(quantize).options(SimpleNamespace(), device, torch.bfloat16)


def test_a_model_that_is_spread_over_several_accelerators_is_refused() -> None:
    from workers.engines.weights import computing_on

    spread = SimpleNamespace(hf_device_map={"model.layers.0": "cuda:0", "model.layers.1": "cuda:1", "lm_head": "cpu"})
    with pytest.raises(Misconfigured, match=r"over the devices cuda:0, cuda:1.*--tensor-parallel"):
        computing_on(spread, "cuda")
    spread.hf_device_map.pop("model.layers.1")
    assert computing_on(spread, "cuda") == "cuda:0"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"quantize": "int3"}, "--quantize 'int3' is unknown: use int8 or int4"),
        ({"device_map": "meta"}, "--device-map 'meta' is unknown: use auto, balanced"),
        ({"max_memory": "20GB"}, "--max-memory '20GB' is not of the form"),
        ({"max_memory": "cpu=much"}, "is not of the form"),
        ({"device_map": "auto", "device": "cpu"}, "leave --device out"),
        ({"quantize": "int8", "offload_folder": "/tmp/x"}, "are not offloaded to disk"),
    ],
)
def test_flags_about_weights_that_cannot_be_say_why(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        resolve("owner/name", engine="transformers", **flags)
    assert says in caught.value.message


def test_llama_cpp_does_not_quantise(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"--quantize means nothing to engine 'llamacpp'"):
        resolve(str(smollm()), engine="llamacpp", quantize="int8")
