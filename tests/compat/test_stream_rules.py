"""What the official SDK demands of a stream without saying so: each rule through its own parser, which fails or tells
nonsense when one is broken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from queuechat.bus import Bus, Claim
from queuechat.protocol import Logprob, Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site

HELLO: Any = [{"role": "user", "content": "hello"}]
PLACE: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": PLACE}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'


class Place(BaseModel):
    city: str


@pytest.fixture(scope="module")
async def site(redis_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, drain_s=0) as opened:
        yield opened


@pytest.fixture
async def hand(bus: Bus, model: str) -> AsyncIterator[Hand]:
    abilities: dict[str, Any] = {
        "tool_format": "hermes",
        "reasoning": "think",
        "grammars": ["json_schema"],
        "logprobs": True,
    }
    async with Hand(bus, model, **abilities) as opened:
        yield opened


def ask(hand: Hand, **fields: object) -> dict[str, Any]:
    return {"model": hand.model, "messages": HELLO, "stream_options": {"include_usage": True}, **fields}


async def final(site: Site, hand: Hand, **fields: object) -> Any:
    """What the SDK has put together of a stream."""
    async with site.sdk.chat.completions.stream(**ask(hand, **fields)) as stream:
        return await stream.get_final_completion()


async def test_usage_survives_because_no_chunk_comes_after_it(site: Site, hand: Hand) -> None:
    told = asyncio.create_task(hand.tell("one", " two", tail="!"))
    answer = await final(site, hand)
    await told
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 2)
    assert (answer.choices[0].message.role, answer.choices[0].message.content) == ("assistant", "one two!")


async def test_the_last_choice_may_speak_first(site: Site, hand: Hand) -> None:
    async def tell() -> None:
        claims = await hand.claim(3)
        for claim in reversed(claims):
            await hand.say(claim, f"I am {claim.job.sampling.choice}")
        for claim in claims:
            await hand.end(claim)

    told = asyncio.create_task(tell())
    choices = (await final(site, hand, n=3)).choices
    await told
    assert [(c.index, c.message.role, c.message.content, c.finish_reason) for c in choices] == [
        (k, "assistant", f"I am {k}", "stop") for k in range(3)
    ]


async def test_calls_of_several_choices_are_not_mixed_up(site: Site, hand: Hand) -> None:
    async def tell() -> None:
        zero, one = await hand.claim(2)
        both = zip(_pieces(CALL), _pieces(CALL.replace("Bern", "Rome")), strict=True)
        for left, right in both:
            await hand.say(one, right)
            await hand.say(zero, left)
        for claim in (one, zero):
            await hand.end(claim)

    told = asyncio.create_task(tell())
    answer = await final(site, hand, n=2, tools=TOOLS)
    await told
    calls = [call for choice in answer.choices for call in choice.message.tool_calls or []]
    assert [(call.function.name, json.loads(call.function.arguments)["city"]) for call in calls] == [
        ("weather", "Bern"),
        ("weather", "Rome"),
    ]
    assert len({call.id for call in calls}) == 2
    assert {choice.finish_reason for choice in answer.choices} == {"tool_calls"}


def _pieces(text: str) -> list[str]:
    return [text[k : k + 7] for k in range(0, len(text), 7)]


async def test_thoughts_are_told_in_one_field_only(site: Site, hand: Hand) -> None:
    told = asyncio.create_task(hand.tell("<think>", "Hm", "</think>", "Yes"))
    message = (await final(site, hand)).choices[0].message
    await told
    assert (message.reasoning_content, message.content) == ("Hm", "Yes")
    assert not hasattr(message, "reasoning")


async def test_the_parser_tells_a_parsed_answer_as_it_grows(site: Site, hand: Hand) -> None:
    told = asyncio.create_task(hand.tell('{"city"', ': "Be', 'rn"}'))
    async with site.sdk.chat.completions.stream(**ask(hand, response_format=Place)) as stream:
        grown = [event.parsed async for event in stream if event.type == "content.delta"]
        answer = await stream.get_final_completion()
    await told
    assert grown[-1] == {"city": "Bern"}
    assert answer.choices[0].message.parsed == Place(city="Bern")


async def test_an_answer_that_was_cut_is_the_error_that_parsers_expect(site: Site, hand: Hand) -> None:
    told = asyncio.create_task(hand.tell('{"city"', reason=Reason.LENGTH))
    with pytest.raises(openai.LengthFinishReasonError):
        await final(site, hand, response_format=Place)
    await told


async def test_log_probabilities_add_up_in_the_order_of_their_tokens(site: Site, hand: Hand) -> None:
    async def tell() -> None:
        claim = await hand.one()
        for k, word in enumerate((b"a", b"b", b"c")):
            await hand.say(claim, word.decode(), logprobs=[Logprob(word, -float(k), [(word, -float(k))])])
        await hand.end(claim)

    told = asyncio.create_task(tell())
    async with site.sdk.chat.completions.stream(**ask(hand, logprobs=True, top_logprobs=1)) as stream:
        done = [event.content async for event in stream if event.type == "logprobs.content.done"]
    await told
    assert [(entry.token, entry.logprob) for entry in done[0]] == [("a", 0), ("b", -1), ("c", -2)]


async def test_nothing_that_keeps_a_stream_alive_is_taken_for_a_chunk(
    site: Site, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.writing.KEEP_ALIVE_S", 0.01)
    seen = 0

    async def wait_for_a_beat() -> None:
        while not seen:
            await asyncio.sleep(0.01)

    async def tell() -> None:
        claim = await hand.one()
        await hand.say(claim, "one")
        await wait_for_a_beat()
        await hand.say(claim, " two")
        await hand.end(claim)

    told = asyncio.create_task(tell())
    body = ask(hand, stream=True)
    async with site.http.stream("POST", "/v1/chat/completions", json=body) as response:
        raw = b""
        async for piece in response.aiter_bytes():
            raw += piece
            seen = raw.count(b": waiting\n")
    await told
    chunks = [chunk async for chunk in _parsed(raw)]
    assert seen > 0
    assert not any(line.startswith(b"id:") for line in raw.splitlines())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two"


async def _parsed(raw: bytes) -> AsyncIterator[Any]:
    """The same bytes, read by the SDK."""
    import httpx2

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=raw)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with openai.AsyncOpenAI(base_url="http://recorded/v1", api_key="none", http_client=http) as sdk:
        async for chunk in await sdk.chat.completions.create(model="m", messages=HELLO, stream=True):
            yield chunk


@pytest.mark.parametrize("stream", [True, False])
async def test_what_cannot_work_again_is_not_tried_again(site: Site, hand: Hand, stream: bool) -> None:
    asked: list[Claim] = []

    async def refuse(hand: Hand, claim: Claim) -> None:
        asked.append(claim)
        await hand.end(claim, Reason.DEAD)

    hand.always(refuse)
    with pytest.raises(openai.InternalServerError) as caught:
        await site.sdk.with_options(max_retries=2).chat.completions.create(
            model=hand.model, messages=HELLO, stream=stream
        )
    assert (caught.value.code, len(asked)) == ("job_failed", 1)


async def test_a_stream_that_the_sdk_closes_is_a_job_that_nobody_wants(site: Site, hand: Hand) -> None:
    asking = asyncio.create_task(site.sdk.chat.completions.create(model=hand.model, messages=HELLO, stream=True))
    claim = await hand.one()
    await hand.say(claim, "one")
    chunks = await asking
    async for chunk in chunks:
        if chunk.choices[0].delta.content:
            break
    await chunks.close()
    assert await hand.cancelled.get() == claim.job.id
