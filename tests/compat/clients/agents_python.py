"""OpenAI Agents SDK: chat completions by `set_default_openai_api`, responses by default; tracing is switched off."""

from __future__ import annotations

from typing import Any, Literal

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel

from tests.compat.report import Report, Site, check

site = Site.told()
report = Report(site)
set_tracing_disabled(True)
HELLO = "What is the capital of France?"
FEW = ModelSettings(max_tokens=40, temperature=0)
CHAT, RESPONSES = OpenAIChatCompletionsModel, OpenAIResponsesModel


class City(BaseModel):
    name: Literal["Paris", "Rome"]
    big: bool


called: list[str] = []


def _weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather of a city."""
    called.append(city)
    return "Sunny, 21 degrees."


weather: Any = function_tool(_weather, name_override="weather")


def agent(kind: Any, *, model: str = site.model, key: str = site.key, few: ModelSettings = FEW, **fields: Any) -> Any:
    client = openai.AsyncOpenAI(base_url=site.v1, api_key=key)
    asked = kind(model=model, openai_client=client)
    return Agent(name="a", instructions="You are a helpful assistant.", model=asked, model_settings=few, **fields)


async def answered(kind: Any) -> str:
    text = (await Runner.run(agent(kind), HELLO)).final_output
    return check("Paris" in text, text)


async def streamed(kind: Any) -> str:
    result = Runner.run_streamed(agent(kind), HELLO)
    raw = [event.data.type async for event in result.stream_events() if event.type == "raw_response_event"]
    assert raw[-1] == "response.completed", raw
    return check("Paris" in result.final_output, f"{len(raw)} events, {result.final_output}")


async def called_by_name(kind: Any) -> str:
    called.clear()
    settings = ModelSettings(max_tokens=40, temperature=0, tool_choice="weather")
    armed = agent(kind, few=settings, tools=[weather], tool_use_behavior="stop_on_first_tool")
    result = Runner.run_streamed(armed, HELLO)
    async for _ in result.stream_events():
        pass
    return check(len(called) == 1 and result.final_output == "Sunny, 21 degrees.", called)


async def of_one_type(kind: Any) -> str:
    got = (await Runner.run(agent(kind, output_type=City), HELLO)).final_output
    return check(isinstance(got, City), got)


@report.of("chat")
async def chat() -> str:
    return await answered(CHAT)


@report.of("stream")
async def stream() -> str:
    return await streamed(CHAT)


@report.of("tool_named")
async def named_tool() -> str:
    return await called_by_name(CHAT)


@report.of("tool_auto")
async def tool_of_its_own_will() -> str:
    armed = agent(CHAT, tools=[weather], tool_use_behavior="stop_on_first_tool")
    return str((await Runner.run(armed, HELLO)).final_output)


@report.of("structured")
async def structured() -> str:
    return await of_one_type(CHAT)


@report.of("responses", needs="/v1/responses")
async def responses() -> str:
    return await answered(RESPONSES)


@report.of("responses_stream", needs="/v1/responses")
async def responses_stream() -> str:
    return await streamed(RESPONSES)


@report.of("responses_tools", needs="/v1/responses")
async def responses_tools() -> str:
    return await called_by_name(RESPONSES)


@report.of("responses_structured", needs="/v1/responses")
async def responses_structured() -> str:
    return await of_one_type(RESPONSES)


@report.of("responses_chain", needs="/v1/responses")
async def responses_chain() -> str:
    first = await Runner.run(agent(RESPONSES), HELLO)
    then = await Runner.run(agent(RESPONSES), "And of Italy?", previous_response_id=first.last_response_id)
    return check(then.final_output, then.final_output)


async def refused(kind: type[openai.APIStatusError], **who: Any) -> str:
    try:
        await Runner.run(agent(CHAT, **who), HELLO)
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind.__name__} was due")


@report.of("wrong_key")
async def wrong_key() -> str:
    return await refused(openai.AuthenticationError, key="sk-wrong")


@report.of("no_such_model")
async def no_such_model() -> str:
    return await refused(openai.NotFoundError, model="nobody")


@report.of("bad_value")
async def bad_value() -> str:
    return await refused(openai.BadRequestError, few=ModelSettings(temperature=9))


@report.of("retries")
async def retries() -> str:
    with site.busy_key():
        result = await Runner.run(agent(CHAT, key=site.frugal), HELLO)
    return check(result.final_output, "answered after a 429")


@report.of("cancel")
async def cancel() -> str:
    result = Runner.run_streamed(agent(CHAT, model=site.slow, few=ModelSettings(max_tokens=2000)), HELLO)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            result.cancel()
    return site.until_idle()


if __name__ == "__main__":
    report.run()
