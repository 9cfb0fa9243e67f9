"""How answers of a provider end and what they have cost, where it tells that oddly, too late, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuechat.bus import Bus
from tests.api.site import Site
from tests.relay.provider import Provider, Reply, delta, saying, streaming, telling
from tests.relay.relaying import ask, relaying
from workers.consumer import Consumer

HI: list[Any] = [{"role": "user", "content": "Hi"}]
WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}
HEAD: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
UNCOUNTED = HEAD | {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": None, "total_tokens": None}}
ERROR = {"error": {"message": "the server had an error", "type": "server_error"}}


@pytest.fixture
async def relay(bus: Bus, model: str, provider: Provider) -> AsyncIterator[Consumer]:
    async with relaying(bus, model, api_base=f"{provider.url}/v1", retries=0, tpm=1000) as consumer:
        yield consumer


@pytest.fixture
async def claude(bus: Bus, model: str, provider: Provider) -> AsyncIterator[Consumer]:
    pytest.importorskip("anthropic", reason="the SDK of Anthropic is not installed: pip install 'queuechat[dev]'")
    async with relaying(bus, model, api_type="anthropic", api_base=provider.url, retries=0) as consumer:
        yield consumer


def message(
    *blocks: tuple[dict[str, Any], dict[str, Any]],
    read: int | None = 11,
    written: int | None = 5,
    reason: str = "end_turn",
) -> list[dict[str, Any]]:
    """The events of one of Anthropic's, of blocks and the one delta of each."""
    usage = {"input_tokens": read, "output_tokens": 1}
    whole = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": whole}]
    for index, (block, fresh) in enumerate(blocks):
        events += [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_delta", "index": index, "delta": fresh},
            {"type": "content_block_stop", "index": index},
        ]
    ending = {"stop_reason": reason, "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": ending, "usage": {"output_tokens": written}}]


def text(words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "text", "text": ""}, {"type": "text_delta", "text": words}


def called(kind: str, name: str, arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
    block = {"type": kind, "id": f"id_{name}", "name": name, "input": {}}
    return block, {"type": "input_json_delta", "partial_json": arguments}


async def test_a_stop_string_in_thoughts_or_arguments_ends_no_chat(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"x":"END"}'}}
    await provider.reply(
        streaming(delta(reasoning_content="At the END?"), delta(content="See: "), delta(tool_calls=[call]), *saying())
    )
    told = (await ask(site, model, HI, stop=["END"], tools=[WEATHER])).choices[0].message
    assert provider.asked[0].body["stop"] == ["END"]
    assert (told.reasoning_content, told.content) == ("At the END?", "See: ")
    assert told.tool_calls[0].function.arguments == '{"x":"END"}'


async def test_a_stop_string_that_the_provider_overlooks_ends_a_completion(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    choice = {"index": 0, "text": " a END b", "finish_reason": "length", "logprobs": None}
    await provider.reply(streaming(HEAD | {"object": "text_completion", "choices": [choice]}))
    answer = (await site.sdk.completions.create(model=model, prompt="Once", stop=["END"])).choices[0]
    assert (answer.text, answer.finish_reason) == (" a ", "stop")


@pytest.mark.parametrize(
    "reply",
    [
        streaming(*saying("all of it", usage=None), UNCOUNTED),
        streaming(*saying("all of it", usage=None), ERROR),
        streaming(*saying("all of it", usage=None), done=False, cut=True),
        streaming(*saying("all of it", usage=None), done=False),
    ],
    ids=["counts are null", "an error", "cut", "no DONE"],
)
async def test_an_answer_that_came_whole_is_one_whatever_follows(
    site: Site, relay: Consumer, model: str, provider: Provider, reply: Reply
) -> None:
    await provider.reply(reply)
    answer = await ask(site, model, HI)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("all of it", "stop")
    assert answer.usage.completion_tokens == 3  # a quarter of nine bytes


async def test_counts_that_came_before_the_break_are_kept(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(streaming(*saying("x", usage=(11, 5)), UNCOUNTED, ERROR))
    usage = (await ask(site, model, HI)).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (11, 5)


@pytest.mark.parametrize(
    "after",
    [{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, {"type": "ping"}],
    ids=["error", "cut"],
)
async def test_a_message_that_came_whole_is_one_whatever_follows(
    site: Site, claude: Consumer, model: str, provider: Provider, after: dict[str, Any]
) -> None:
    await provider.reply(telling(*message(text("all of it")), after, cut=True))
    answer = await ask(site, model, HI)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("all of it", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 5)


@pytest.mark.parametrize(("read", "written"), [(None, 5), (11, None)])
async def test_a_message_whose_counts_are_left_out_is_charged_by_its_length(
    site: Site, claude: Consumer, model: str, provider: Provider, read: int | None, written: int | None
) -> None:
    await provider.reply(telling(*message(text("all of it"), read=read, written=written)))
    answer = await ask(site, model, HI)
    assert answer.choices[0].message.content == "all of it"
    assert answer.usage.completion_tokens == 3
    assert answer.usage.prompt_tokens not in (0, 11)


async def test_what_the_provider_calls_for_itself_is_no_call_of_the_client(
    site: Site, claude: Consumer, model: str, provider: Provider
) -> None:
    blocks = [
        called("server_tool_use", "web_search", '{"query":"rain"}'),
        text("See: "),
        called("tool_use", "weather", '{"city":"Ulm"}'),
        called("server_tool_use", "web_search", '{"query":"snow"}'),
    ]
    await provider.reply(telling(*message(*blocks, reason="tool_use")))
    told = (await ask(site, model, HI, tools=[WEATHER])).choices[0].message
    (call,) = told.tool_calls
    assert (told.content, call.function.name, call.function.arguments) == ("See: ", "weather", '{"city":"Ulm"}')


async def test_content_in_parts_is_its_text(site: Site, relay: Consumer, model: str, provider: Provider) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "reference", "ids": [1]}, {"type": "text", "text": " two"}]
    await provider.reply(streaming(delta(content=parts), *saying(" three")))
    assert (await ask(site, model, HI)).choices[0].message.content == "one two three"


async def test_an_answer_that_was_cancelled_has_spent_only_what_came(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    begun = streaming(*saying("one", reason=None, usage=None), done=False)
    await provider.reply(Reply(body=begun.body, hangs=True))
    stream = await ask(site, model, HI, stream=True, max_tokens=900_000)
    assert relay.engine.room() == 0  # type: ignore[attr-defined]
    await stream.close()
    while relay.held or relay.engine.running():
        await asyncio.sleep(0.01)
    assert relay.engine.room() == 1  # type: ignore[attr-defined]


async def test_a_guess_of_tokens_tells_nothing_of_a_full_context(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(streaming(*saying("x", reason="length", usage=None)))
    told = (await site.post("/v1/messages", {"model": model, "max_tokens": 50, "messages": HI})).json()
    assert told["stop_reason"] == "max_tokens"
