"""Encoders, against plain transformers: tiny ones with random weights, made here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.dialects import vectors
from queuechat.errors import ContextLengthExceeded, InvalidRequest, Misconfigured
from queuechat.protocol import Chunk, End, Job, Reason, new_id
from workers.consumer import Consumer
from workers.engines.base import Prompt
from workers.prompting import Speech

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "river", "is", "long", "##er", "than", "road", "stone"]
TEXTS = ["a river", "a river is longer than a road", "stone", "a road is long", "stone stone"]


def made(folder: Path, *, pooling: str = "", kind: str = "bert", modules: tuple[str, ...] = ()) -> Path:
    """A model of two layers; `pooling` is told as sentence-transformers does, unless it is empty."""
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32)
    tokenizer.save_pretrained(folder)
    sizes: Any = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(3)
    config, model = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
    }[kind]
    model(config(vocab_size=len(WORDS), max_position_embeddings=24, **sizes)).save_pretrained(folder)
    if pooling:
        names = ("Transformer", "Pooling", *modules, "Normalize")
        rows = [{"idx": k, "path": f"{k}_{name}", "type": f"x.models.{name}"} for k, name in enumerate(names)]
        (folder / "modules.json").write_text(json.dumps(rows))
        (folder / "1_Pooling").mkdir()
        flags = {f"pooling_mode_{name}": name == pooling for name in ("cls_token", "mean_tokens", "max_tokens")}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **flags}))
    return folder


@pytest.fixture
def engines() -> Iterator[list[Any]]:
    opened: list[Any] = []
    yield opened
    for engine in opened:
        engine.close()


def started(engines: list[Any], folder: Path) -> Any:
    from workers.engines.encoder import EncoderEngine

    engine = EncoderEngine(str(folder), device="cpu")
    engine.start()
    engines.append(engine)
    return engine


def plain(folder: Path, text: str, pooling: str) -> list[float]:
    """The same by transformers alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    given = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state[0]
    vector = {"cls_token": states[0], "max_tokens": states.amax(0)}.get(pooling, states.mean(0))
    result: list[float] = (vector / vector.norm()).tolist()
    return result


@pytest.mark.parametrize("pooling", ["", "mean_tokens", "cls_token", "max_tokens"])
def test_vectors_are_those_of_plain_transformers_in_any_company(
    tmp_path: Path, engines: list[Any], pooling: str
) -> None:
    engine = started(engines, made(tmp_path, pooling=pooling))
    ids = [engine.vocabulary.encode(text, add_special=True) for text in TEXTS]
    together = engine.embed(ids)
    for text, one, vector in zip(TEXTS, ids, together, strict=True):
        assert vector == pytest.approx(plain(tmp_path, text, pooling), abs=1e-5)
        assert engine.embed([one])[0] == pytest.approx(vector, abs=1e-5)


@pytest.mark.parametrize(("kind", "length"), [("bert", 24), ("roberta", 22)])
def test_an_input_of_full_length_fits_and_no_longer_one(
    tmp_path: Path, engines: list[Any], kind: str, length: int
) -> None:
    engine = started(engines, made(tmp_path, kind=kind))
    assert engine.caps.context_length == length
    assert len(engine.embed([[5] * length])[0]) == 16
    with pytest.raises(ContextLengthExceeded):
        engine.embed([[5] * (length + 1)])
    with pytest.raises(InvalidRequest, match="token ids lie in"):
        engine.embed([[len(WORDS)]])


def test_a_way_to_make_vectors_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="Dense"):
        started([], made(tmp_path, pooling="mean_tokens", modules=("Dense",)))


def test_only_what_reads_in_both_directions_is_an_encoder(tmp_path: Path) -> None:
    from workers.engines.hf_encoder import is_encoder

    assert is_encoder(str(made(tmp_path)))
    for config in (transformers.LlamaConfig(architectures=["LlamaForCausalLM"]), transformers.T5Config()):
        config.save_pretrained(tmp_path)
        assert not is_encoder(str(tmp_path))
    assert not is_encoder("/nowhere/at/all")


async def test_a_worker_of_an_encoder_embeds_and_refuses_to_write(
    bus: Bus, model: str, tmp_path: Path, engines: list[Any]
) -> None:
    engine = started(engines, made(tmp_path, pooling="cls_token"))
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker="w")
    running = asyncio.create_task(consumer.run())
    async with Client(bus) as client:
        events = [event async for event in client.ask(Job(new_id(), model, inputs=list(TEXTS)))]
        found = [vectors.floats(event.vector).tolist() for event in events if isinstance(event, Chunk)]
        for text, vector in zip(TEXTS, found, strict=True):
            assert vector == pytest.approx(plain(tmp_path, text, "cls_token"), abs=1e-5)
        *_, end = [event async for event in client.ask(Job(new_id(), model, prompt="a", max_tokens=2))]
    assert isinstance(end, End)
    assert (end.reason, end.error and end.error.param) == (Reason.ERROR, "model")
    with pytest.raises(InvalidRequest, match="embeddings"):
        engine.admit(Prompt("x", [5], 2))
    consumer.drain()
    await running
