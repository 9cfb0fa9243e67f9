"""An OpenAI-compatible provider, which is a second queuechat: clients see its models as any other."""

from __future__ import annotations

import asyncio
import base64
from io import BytesIO
from typing import Any

import openai
import pytest
from PIL import Image

from queuechat.bus import Bus
from queuechat.protocol import Failure, Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.relay.relaying import ask, relaying
from tests.servers import opened

HI: list[Any] = [{"role": "user", "content": "Hi"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Köln"}}</tool_call>'


def endpoint(far: Site, **more: object) -> dict[str, Any]:
    return {"api_base": f"{far.url}/v1", **more}


async def test_a_chat_is_answered_there_and_charged_as_it_was_counted_there(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, HI, max_tokens=9, seed=4))
        claim = await hand.tell("Grüße", " aus", " 東京", "!")
        answer = await asked
    assert answer.choices[0].message.content == "Grüße aus 東京!"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 4)
    assert claim.job.messages == [{"role": "user", "content": "Hi"}]
    assert (claim.job.max_tokens, claim.job.sampling.seed, claim.job.sampling.temperature) == (9, 4, 1.0)
    spent = await bus.connection.command("XREVRANGE", f"qc:{{{model}}}:usage", "+", "-", "COUNT", 1)
    row = dict(zip(spent[0][1][::2], spent[0][1][1::2], strict=True)) if isinstance(spent[0][1], list) else spent[0][1]
    assert (row[b"tokens"], row[b"prompt_tokens"]) == (b"4", b"7")


async def test_a_stream_comes_as_it_is_written(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far)):
        opening = asyncio.create_task(ask(site, model, HI, stream=True, stream_options={"include_usage": True}))
        claim = await hand.one()
        await hand.say(claim, "one")
        stream = await opening
        texts: list[str] = []
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                texts.append(chunk.choices[0].delta.content)
                if len(texts) == 1:  # the first has come before the second was written
                    await hand.say(claim, " two")
                    await hand.end(claim, Reason.LENGTH)
            if chunk.choices and chunk.choices[0].finish_reason:
                assert chunk.choices[0].finish_reason == "length"
        assert texts == ["one", " two"]
        assert chunk.usage is not None
        assert chunk.usage.completion_tokens == 2


async def test_calls_of_tools_come_back_as_calls(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, HI, tools=[WEATHER]))
        claim = await hand.tell("Let me see. ", CALL[:20], CALL[20:])
        message = (await asked).choices[0].message
        assert claim.job.tools[0]["function"]["name"] == "weather"
        (call,) = message.tool_calls
        assert (message.content, call.function.name) == ("Let me see.", "weather")
        assert call.function.arguments == '{"city": "Köln"}'
        turns = [*HI, message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        again = asyncio.create_task(ask(site, model, turns, tools=[WEATHER]))
        claim = await hand.tell("Rain.")
        assert (await again).choices[0].message.content == "Rain."
    assert claim.job.messages is not None
    assert [turn["role"] for turn in claim.job.messages] == ["user", "assistant", "tool"]
    assert claim.job.messages[1]["tool_calls"][0]["id"] == claim.job.messages[2]["tool_call_id"] == call.id


async def test_streamed_calls_keep_their_shape_and_must_be_made_where_that_is_asked(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        opening = asyncio.create_task(
            ask(
                site,
                model,
                HI,
                tools=[WEATHER],
                stream=True,
                tool_choice="required",
                parallel_tool_calls=False,
            )
        )
        claim = await hand.tell('[{"name": "weather", "arguments": {"city"', ': "Ulm"}}]')
        deltas = [chunk.choices[0] async for chunk in await opening if chunk.choices]
    assert claim.job.grammar is not None  # the far side was told that one call must be made, and holds the answer to it
    assert '"maxItems":1' in claim.job.grammar.text
    calls = [call for choice in deltas for call in choice.delta.tool_calls or []]
    assert next((call.id is not None, call.function.name) for call in calls) == (True, "weather")
    assert "".join(call.function.arguments or "" for call in calls) == '{"city": "Ulm"}'
    assert deltas[-1].finish_reason == "tool_calls"


async def test_thoughts_come_back_as_thoughts(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far), reasoning=True):
        asked = asyncio.create_task(ask(site, model, HI, reasoning_effort="low"))
        claim = await hand.tell("<think>Hm", "m.</think>", "Yes.")
        message = (await asked).choices[0].message
    assert (message.content, message.reasoning_content) == ("Yes.", "Hmm.")
    assert claim.job.template_args["reasoning_effort"] == "low"


async def test_a_form_is_held_to_by_the_provider(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, HI, response_format=form))
        claim = await hand.tell('{"a":1}')
        assert (await asked).choices[0].message.content == '{"a":1}'
    assert claim.job.grammar is not None
    assert (claim.job.grammar.kind, claim.job.grammar.text) == (
        "json_schema",
        '{"type":"object","properties":{"a":{"type":"integer"}}}',
    )


async def test_images_are_passed_on_where_the_model_sees(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    file = BytesIO()
    Image.new("RGB", (2, 2), "red").save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    turn: Any = {"role": "user", "content": [{"type": "text", "text": "What?"}, part]}
    async with relaying(bus, model, **endpoint(far), vision=True):
        asked = asyncio.create_task(ask(site, model, [turn]))
        claim = await hand.tell("Red.")
        assert (await asked).choices[0].message.content == "Red."
    assert claim.job.images == [image]


async def test_a_blind_model_gets_no_images(site: Site, far: Site, bus: Bus, model: str) -> None:
    turn: Any = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
    async with relaying(bus, model, **endpoint(far)):
        with pytest.raises(openai.BadRequestError, match="takes text only"):
            await ask(site, model, [turn])


async def test_choices_are_asked_for_one_by_one_and_with_seeds_that_differ(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, HI, n=2, seed=5))
        claims = await hand.claim(2)
        for claim in claims:
            await hand.say(claim, str(claim.job.sampling.seed == 5))
            await hand.end(claim)
        answer = await asked
    assert [choice.message.content for choice in answer.choices] == ["True", "False"]


async def test_a_stop_string_ends_the_answer_there_and_is_told(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, HI, stop=["END"]))
        claim = await hand.one()
        assert claim.job.stop == ["END"]
        await hand.say(claim, "a b ")
        await hand.end(claim, stop="END")
        assert (await asked).choices[0].message.content == "a b "


async def test_a_completion_of_text_is_one_there(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(site.sdk.completions.create(model=model, prompt="Once", max_tokens=3))
        claim = await hand.tell(" upon", " a")
        answer = await asked
        assert (claim.job.prompt, claim.job.max_tokens) == ("Once", 3)
        assert (answer.choices[0].text, answer.usage and answer.usage.completion_tokens) == (" upon a", 2)
        asked = asyncio.create_task(site.sdk.completions.create(model=model, prompt=[5, 6, 7]))
        claim = await hand.tell("x")
        assert (await asked).choices[0].text == "x"
    assert claim.job.prompt == [5, 6, 7]  # ids are those of their vocabulary


async def test_what_the_request_leaves_open_is_as_the_file_recommends(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    recommended = {"temperature": 0.3, "top_p": 0.8, "max_new_tokens": 17, "extra_body": {"ignore_eos": True}}
    async with relaying(bus, model, **endpoint(far), recommended_config=recommended):
        asked = asyncio.create_task(ask(site, model, HI, temperature=1))
        claim = await hand.tell("x")
        await asked
    job = claim.job
    assert (job.sampling.temperature, job.sampling.top_p, job.max_tokens, job.ignore_eos) == (1.0, 0.8, 17, True)


@pytest.mark.parametrize(
    ("field", "value"), [("top_k", 5), ("min_p", 0.2), ("repetition_penalty", 1.2), ("ignore_eos", True)]
)
async def test_what_is_not_openais_is_refused_by_name_unless_the_file_says_that_it_is_taken(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand, field: str, value: object
) -> None:
    body: dict[str, Any] = {field: value}
    async with relaying(bus, model, **endpoint(far)):
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(site, model, HI, extra_body=body)
        assert caught.value.param == field
    async with relaying(bus, model, **endpoint(far), takes=[field]):
        asked = asyncio.create_task(ask(site, model, HI, extra_body=body))
        claim = await hand.tell("x")
        await asked
    assert value in (getattr(claim.job.sampling, field, None), getattr(claim.job, field, None))


async def test_what_the_tokens_are_is_not_told(site: Site, far: Site, bus: Bus, model: str) -> None:
    async with relaying(bus, model, **endpoint(far)):
        told = await site.post("/tokenize", {"model": model, "prompt": "x"})
        assert told.status_code == 400
        assert "provider elsewhere" in told.json()["error"]["message"]
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(site, model, HI, logprobs=True)
        assert caught.value.param == "logprobs"


async def test_their_error_of_the_user_is_the_users_here(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, HI))
        claim = await hand.one()
        failure = Failure("context_length_exceeded", "the prompt is too long", "messages")
        await hand.end(claim, Reason.ERROR, error=failure)
        with pytest.raises(openai.BadRequestError) as caught:
            await asked
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert "the prompt is too long" in caught.value.message


async def test_who_leaves_here_has_left_there(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far)) as consumer:
        opening = asyncio.create_task(ask(site, model, HI, stream=True))
        claim = await hand.one()
        await hand.say(claim, "one")
        stream = await opening
        await stream.close()
        assert await hand.cancelled.get() == claim.job.id
        while consumer.held:
            await asyncio.sleep(0.01)
        assert consumer.engine.running() == 0


async def test_other_dialects_speak_to_it_too(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far)):
        tool = {"name": "weather", "input_schema": {"type": "object"}}
        body = {"model": model, "max_tokens": 5, "messages": HI, "tools": [tool]}
        asked = asyncio.create_task(site.post("/v1/messages", body))
        await hand.tell(CALL)
        told = (await asked).json()
        assert (told["stop_reason"], told["content"][0]["input"]) == ("tool_use", {"city": "Köln"})
        assert told["usage"]["output_tokens"] == 1
        responding = asyncio.create_task(site.sdk.responses.create(model=model, input="Hi"))
        await hand.tell("<think>so</think>", "Yes")
        response = await responding
        assert (response.output_text, response.output[0].type) == ("Yes", "reasoning")
        assert response.usage is not None
        assert response.usage.output_tokens == 2


async def test_a_full_waiting_room_there_is_waited_for_as_long_as_it_says(
    site: Site, far_redis: str, bus: Bus, model: str
) -> None:
    url = f"{far_redis}/7"
    async with (
        a_site(url, drain_s=0, queue_limit=1) as full,
        opened(url) as far_bus,
        Hand(far_bus, "theirs") as hand,
        relaying(bus, model, **endpoint(full)) as consumer,
    ):
        asked = [asyncio.create_task(ask(site, model, HI)) for _ in range(2)]
        while consumer.engine.room():  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)  # until one of them was told to come back later
        for text in ("one", "two"):
            await hand.tell(text)
        answers = [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]
    assert sorted(answers) == ["one", "two"]
