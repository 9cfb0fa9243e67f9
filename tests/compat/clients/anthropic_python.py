"""The anthropic SDK: base URL without /v1. Its version 2 has no `temperature`, which so goes in extra_body."""

from __future__ import annotations

import json
from typing import Any, Literal

import anthropic
from anthropic import Anthropic
from pydantic import BaseModel

from tests.compat.report import WEATHER, Report, Site, caught, check

site = Site.told()
report = Report(site)
client = Anthropic(base_url=site.root, api_key=site.key)
ROUTE = "/v1/messages"
HELLO: Any = [{"role": "user", "content": "What is the capital of France?"}]
TOOL: Any = {"name": "weather", "description": "The weather of a city.", "input_schema": WEATHER}


class City(BaseModel):
    name: Literal["Paris", "Rome"]
    big: bool


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": site.model, "messages": HELLO, "max_tokens": 40, "extra_body": {"temperature": 0}, **fields}


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@report.of("models", needs=ROUTE)
def models() -> str:
    names = [model.id for model in client.models.list()]
    return check(client.models.retrieve(site.model).id == site.model in names, names)


@report.of("messages", needs=ROUTE)
def messages() -> str:
    answer = client.messages.create(**ask(system="You are a helpful assistant."))
    assert "Paris" in text_of(answer), answer
    return check(answer.stop_reason == "end_turn" and answer.usage.output_tokens, text_of(answer))


@report.of("messages_stream", needs=ROUTE)
def messages_stream() -> str:
    with client.messages.stream(**ask()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final), (text, final)
    kinds = [event.type for event in client.messages.create(**ask(stream=True))]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop"), kinds
    return check("Paris" in text and final.usage.output_tokens > 3, f"{text} {final.usage}")


@report.of("messages_stop", needs=ROUTE)
def messages_stop() -> str:
    answer = client.messages.create(**ask(stop_sequences=["Paris"]))
    return check((answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "Paris"), text_of(answer))


@report.of("messages_tools", needs=ROUTE)
def messages_tools() -> str:
    named = {"type": "tool", "name": "weather"}
    with client.messages.stream(**ask(tools=[TOOL], tool_choice=named)) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    call: Any = next(block for block in final.content if block.type == "tool_use")
    assert json.loads("".join(pieces)) == call.input, (pieces, call)
    assert final.stop_reason == "tool_use", final
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 21 degrees."}
    history = [*HELLO, {"role": "assistant", "content": final.content}, {"role": "user", "content": [result]}]
    then = client.messages.create(**ask(messages=history, tools=[TOOL], tool_choice={"type": "none"}))
    return check(call.input["city"] in ("Paris", "Rome") and text_of(then), f"{call.input}, then {text_of(then)!r}")


@report.of("messages_structured", needs=ROUTE)
def messages_structured() -> str:
    parsed = client.messages.parse(**ask(output_format=City)).parsed_output
    return check(isinstance(parsed, City), parsed)


@report.of("messages_count", needs=f"{ROUTE}/count_tokens")
def messages_count() -> str:
    counted = client.messages.count_tokens(model=site.model, messages=HELLO).input_tokens
    used = client.messages.create(**ask()).usage.input_tokens
    return check(counted == used, f"{counted} counted, {used} used")


@report.of("wrong_key", needs=ROUTE)
def wrong_key() -> str:
    stranger = client.with_options(api_key="sk-wrong")
    error = caught(anthropic.AuthenticationError, lambda: stranger.messages.create(**ask()))
    return check(error.body["error"]["type"] == "authentication_error", error)


@report.of("no_such_model", needs=ROUTE)
def no_such_model() -> str:
    error = caught(anthropic.NotFoundError, lambda: client.messages.create(**ask(model="nobody")))
    return check(error.body["error"]["type"] == "not_found_error", error)


@report.of("bad_value", needs=ROUTE)
def bad_value() -> str:
    error = caught(anthropic.BadRequestError, lambda: client.messages.create(**ask(max_tokens=0)))
    return check(error.body["error"]["type"] == "invalid_request_error", error)


@report.of("retries", needs=ROUTE)
def retries() -> str:
    frugal = client.with_options(api_key=site.frugal)
    with site.busy_key():
        answer = frugal.messages.create(**ask(max_tokens=3))
    return check(text_of(answer), "answered after a 429")


@report.of("cancel", needs=ROUTE)
def cancel() -> str:
    with client.messages.stream(**ask(model=site.slow, max_tokens=2000)) as stream:
        next(iter(stream.text_stream))
    return site.until_idle()


if __name__ == "__main__":
    report.run()
