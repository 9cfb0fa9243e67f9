"""The whole path with a real model on both real engines: official SDK, API process, Redis, worker processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from queuechat.bus import Bus
from tests.conftest import free_port
from tests.processes import Command, Workers, census_when

FRANCE = "What is the capital of France?"
FOX = "Write a story about a fox who learns to swim."
KNOWS_TOOLS = str(Path(__file__).parent.parent / "workers" / "text" / "templates" / "qwen.jinja")
CITY: Any = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "inhabitants": {"type": "integer", "maximum": 20_000_000}},
    "required": ["city", "inhabitants"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
async def shared_bus(redis_url: str) -> AsyncIterator[Bus]:
    opened = await Bus(redis_url).open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def sdk(redis_url: str, shared_bus: Bus, folder: Path) -> AsyncIterator[AsyncOpenAI]:
    """The official client of an API process whose two models are the same weights on both engines. The model's own
    template knows no tools: one is told them in words, the other has a template that knows them."""
    context = ("--max-context", "2048", "--threads", "1")
    words = ("--tool-format", "json", "--dtype", "float32")
    port = free_port()
    api = await Command.start(["api", "--port", str(port)], folder / "api", QUEUECHAT_REDIS_URL=redis_url)
    workers = Workers(redis_url, shared_bus, folder / "workers")
    try:
        await workers.start("smollm2", "small-gguf", "--engine", "llamacpp", "--chat-template", KNOWS_TOOLS, *context)
        await workers.start("smollm2", "small-torch,small", "--engine", "transformers", *words, *context)
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as probe, asyncio.timeout(60):
            while not await _ready(probe, base):
                await asyncio.sleep(0.1)
        async with AsyncOpenAI(base_url=f"{base}/v1", api_key="none", timeout=240) as client:
            yield client
    finally:
        await workers.stop()
        await api.stop()


async def _ready(probe: httpx.AsyncClient, base: str) -> bool:
    try:
        return (await probe.get(f"{base}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


both = pytest.mark.parametrize("model", ["small-gguf", "small-torch"])


async def told(sdk: AsyncOpenAI, model: str, prompt: str, seed: int, tokens: int = 16) -> str:
    answer = await sdk.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=tokens,
        seed=seed,
        temperature=0.8,
    )
    return answer.choices[0].message.content or ""


@both
async def test_the_capital_of_france_is_paris_streamed_or_not(sdk: AsyncOpenAI, model: str) -> None:
    question: ChatCompletionUserMessageParam = {"role": "user", "content": FRANCE}
    whole = await sdk.chat.completions.create(model=model, messages=[question], temperature=0, max_tokens=30)
    stream = await sdk.chat.completions.create(
        model=model,
        messages=[question],
        temperature=0,
        max_tokens=30,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert whole.choices[0].message.content == text
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage == chunks[-1].usage


@both
async def test_a_raw_prompt_is_completed_and_a_stop_string_ends_it(sdk: AsyncOpenAI, model: str) -> None:
    answer = await sdk.completions.create(
        model=model, prompt="One, two, three,", temperature=0, max_tokens=20, stop=[" six"]
    )
    assert "four, five," in answer.choices[0].text
    assert "six" not in answer.choices[0].text
    assert answer.choices[0].finish_reason == "stop"


@both
async def test_embeddings_of_like_texts_are_closer_than_those_of_unlike_ones(sdk: AsyncOpenAI, model: str) -> None:
    texts = ["A cat sits on the mat.", "A kitten lies on the rug.", "Interest rates rose by two percent."]
    answer = await sdk.embeddings.create(model=model, input=texts)
    cat, kitten, rates = (row.embedding for row in answer.data)
    assert sum(x * x for x in cat) == pytest.approx(1, abs=1e-3)
    assert _dot(cat, kitten) > _dot(cat, rates)


async def test_both_engines_make_the_same_embedding_of_the_same_weights(sdk: AsyncOpenAI) -> None:
    rows = [
        (await sdk.embeddings.create(model=m, input="The river runs.")).data[0].embedding
        for m in ("small-gguf", "small-torch")
    ]
    assert _dot(*rows) > 0.98  # one computes on 4-bit blocks, the other on the floats they stand for


@both
async def test_an_answer_with_a_schema_is_of_that_schema_and_tells_how_likely_each_token_was(
    sdk: AsyncOpenAI, model: str
) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    answer = await sdk.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": FRANCE}],
        temperature=1.5,
        seed=3,
        max_tokens=80,
        response_format=schema,
        logprobs=True,
        top_logprobs=3,
    )
    choice = answer.choices[0]
    told = json.loads(choice.message.content or "")
    assert told["city"] in ("Paris", "Rome")
    assert isinstance(told["inhabitants"], int)
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    entries = choice.logprobs.content or []
    spelt = b"".join(bytes(entry.bytes or ()) for entry in entries).decode()
    assert spelt.startswith(choice.message.content or "-")  # then, where the engine says it, the end of the turn
    for entry in entries:
        assert len(entry.top_logprobs) == 3
        assert all(top.bytes and entry.logprob <= entry.top_logprobs[0].logprob <= 0 for top in entry.top_logprobs)


@both
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "census"}}])
async def test_a_call_that_is_demanded_comes_with_arguments_of_its_schema(
    sdk: AsyncOpenAI, model: str, choice: Any
) -> None:
    tools: Any = [
        {"type": "function", "function": {"name": name, "parameters": CITY}} for name in ("weather", "census")
    ]
    stream = await sdk.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "How many people live in Rome?"}],
        temperature=0,
        max_tokens=120,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=False,
        stream=True,
    )
    chunks = [chunk.choices[0] async for chunk in stream]
    calls = [call.function for chunk in chunks for call in chunk.delta.tool_calls or [] if call.function]
    (name,) = [call.name for call in calls if call.name]
    arguments = json.loads("".join(call.arguments or "" for call in calls))
    assert name in ("weather", "census") if choice == "required" else name == "census"
    assert arguments["city"] in ("Paris", "Rome")
    assert isinstance(arguments["inhabitants"], int)
    assert chunks[-1].finish_reason == "tool_calls"
    assert not any(chunk.delta.content for chunk in chunks)


async def test_a_prompt_longer_than_the_context_is_a_400_that_names_both_lengths(sdk: AsyncOpenAI) -> None:
    with pytest.raises(Exception, match=r"maximum context length is 2048 tokens.*\d{4} tokens") as caught:
        await told(sdk, "small-gguf", "word " * 4000, seed=1)
    assert getattr(caught.value, "status_code", None) == 400


async def test_a_seeded_answer_is_the_same_alone_and_among_eight_others(sdk: AsyncOpenAI) -> None:
    alone = await told(sdk, "small-torch", FOX, seed=11)
    among = await asyncio.gather(
        told(sdk, "small-torch", FOX, seed=11),
        *(told(sdk, "small-torch", f"Count to {k} and explain why.", seed=k) for k in range(8)),
    )
    assert among[0] == alone
    assert len(set(among)) == 9


async def test_an_answer_is_the_same_although_its_engine_was_killed_in_the_middle(
    sdk: AsyncOpenAI, shared_bus: Bus
) -> None:
    undisturbed = await told(sdk, "small", FOX, seed=5, tokens=40)
    stream = await sdk.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": FOX}],
        max_tokens=40,
        seed=5,
        temperature=0.8,
        stream=True,
    )
    text, pieces = "", 0
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        pieces += 1
        if pieces == 3:
            census = await census_when(shared_bus, lambda c: c.find("small-torch") is not None)
            (card,) = (worker for worker in census.workers if worker.model == "small-torch")
            os.kill(card.pid, signal.SIGKILL)
    assert text == undisturbed
    await census_when(shared_bus, lambda c: [w.restarts for w in c.workers if w.model == "small-torch"] == [1])


def _dot(one: list[float], other: list[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))
