"""An Anthropic provider, which is the `/v1/messages` of a second queuechat, asked by Anthropic's own SDK."""

from __future__ import annotations

import asyncio
import base64
from io import BytesIO
from typing import Any

import openai
import pytest
from PIL import Image

from queuechat.bus import Bus
from queuechat.protocol import Reason
from tests.api.hand import Hand
from tests.api.site import Site
from tests.relay.relaying import ask, relaying

pytest.importorskip("anthropic", reason="the SDK of Anthropic is not installed: pip install 'queuechat[dev]'")

HI: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "of a city", "parameters": {"type": "object"}},
}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Köln"}}</tool_call>'


def endpoint(far: Site, **more: object) -> dict[str, Any]:
    return {"api_type": "anthropic_message", "api_base": far.url, **more}


async def test_a_chat_is_answered_there_and_charged_as_it_was_counted_there(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, HI, max_tokens=9, temperature=0.5, stop=["END"]))
        claim = await hand.one()
        await hand.say(claim, "Grüße", "!")
        await hand.end(claim, Reason.LENGTH)
        answer = await asked
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Grüße!", "length")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 2)
    assert claim.job.messages == HI
    assert (claim.job.max_tokens, claim.job.sampling.temperature, claim.job.stop) == (9, 0.5, ["END"])


async def test_a_stream_with_thoughts_text_and_a_call_keeps_them_apart(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        opened = asyncio.create_task(ask(site, model, HI, tools=[WEATHER], stream=True))
        await hand.tell("<think>Hm.</think>", "See: ", CALL[:30], CALL[30:])
        deltas = [chunk.choices[0] async for chunk in await opened if chunk.choices]
    thoughts = "".join(getattr(choice.delta, "reasoning_content", None) or "" for choice in deltas)
    content = "".join(choice.delta.content or "" for choice in deltas)
    calls = [call for choice in deltas for call in choice.delta.tool_calls or []]
    arguments = "".join(call.function.arguments or "" for call in calls)
    assert (thoughts, content.strip(), calls[0].function.name, arguments) == (
        "Hm.",
        "See:",
        "weather",
        '{"city": "Köln"}',
    )
    assert deltas[-1].finish_reason == "tool_calls"


async def test_calls_and_their_results_go_there_as_blocks(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
    turns = [
        *HI,
        {"role": "assistant", "content": "See:", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "user", "content": "So?"},
    ]
    async with relaying(bus, model, **endpoint(far)):
        asked = asyncio.create_task(ask(site, model, turns, tools=[WEATHER], parallel_tool_calls=False))
        claim = await hand.tell("Rain.")
        assert (await asked).choices[0].message.content == "Rain."
    assert claim.job.messages == turns
    assert claim.job.tools[0]["function"]["description"] == "of a city"


async def test_images_go_there_as_sources(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    file = BytesIO()
    Image.new("RGB", (2, 2), "red").save(file, "WEBP")
    image = base64.b64encode(file.getvalue()).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{image}"}}
    turn: Any = {"role": "user", "content": [part, {"type": "text", "text": "What?"}]}
    async with relaying(bus, model, **endpoint(far, **{"vision-arena": True})):
        asked = asyncio.create_task(ask(site, model, [turn]))
        claim = await hand.tell("Red.")
        await asked
    assert claim.job.images == [image]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 5),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("logit_bias", {"5": 1.0}),
        ("min_p", 0.1),
        ("repetition_penalty", 1.1),
        ("ignore_eos", True),
        ("reasoning_effort", "high"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}),
    ],
)
async def test_what_anthropic_has_not_is_refused_by_name(
    site: Site, far: Site, bus: Bus, model: str, field: str, value: object
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        body: dict[str, Any] = {field: value}
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(site, model, HI, extra_body=body)
    assert caught.value.param == field


async def test_neutral_values_pass_and_so_does_no_thinking(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        body = {"presence_penalty": 0, "min_p": 0, "logit_bias": {}, "reasoning_effort": "none", "top_k": 3}
        asked = asyncio.create_task(ask(site, model, HI, extra_body=body))
        claim = await hand.tell("x")
        await asked
    assert claim.job.sampling.top_k == 3


async def test_a_model_that_takes_an_output_config_keeps_to_a_form(
    site: Site, far: Site, bus: Bus, model: str, hand: Hand
) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    async with relaying(bus, model, **endpoint(far, takes=["output_config"])):
        asked = asyncio.create_task(ask(site, model, HI, response_format=form, reasoning_effort="low"))
        claim = await hand.tell("{}")
        await asked
    assert claim.job.grammar is not None
    assert claim.job.template_args["reasoning_effort"] == "low"


async def test_which_stop_string_was_met_is_told(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far)):
        body = {"model": model, "max_tokens": 50, "messages": HI[1:], "stop_sequences": ["END", "FIN"]}
        asked = asyncio.create_task(site.post("/v1/messages", body))
        claim = await hand.one()
        await hand.say(claim, "a ")
        await hand.end(claim, stop="FIN")
        told = (await asked).json()
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "FIN")


async def test_it_answers_no_bare_completions_and_takes_systems_first_only(
    site: Site, far: Site, bus: Bus, model: str
) -> None:
    async with relaying(bus, model, **endpoint(far)):
        with pytest.raises(openai.BadRequestError, match="answers chats only"):
            await site.sdk.completions.create(model=model, prompt="Once")
        with pytest.raises(openai.BadRequestError, match="must come first"):
            await ask(site, model, [*HI, {"role": "system", "content": "x"}])


async def test_who_leaves_here_has_left_there(site: Site, far: Site, bus: Bus, model: str, hand: Hand) -> None:
    async with relaying(bus, model, **endpoint(far)):
        opened = asyncio.create_task(ask(site, model, HI, stream=True))
        claim = await hand.one()
        await hand.say(claim, "one")
        await (await opened).close()
        assert await hand.cancelled.get() == claim.job.id
