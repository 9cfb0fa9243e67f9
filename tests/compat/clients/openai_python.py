"""openai-python, any major since 1: what a version does not have, it leaves out."""

from __future__ import annotations

import io
import json
import time
from typing import Any, Literal

import openai
from openai import OpenAI
from pydantic import BaseModel

from tests.compat.report import CITY, WEATHER, Report, Site, caught, check

site = Site.told()
report = Report(site)
client = OpenAI(base_url=site.v1, api_key=site.key)
HELLO: Any = [{"role": "user", "content": "What is the capital of France?"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}


class City(BaseModel):
    name: Literal["Paris", "Rome"]
    big: bool


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": site.model, "messages": HELLO, "max_tokens": 40, "temperature": 0, **fields}


@report.of("models")
def models() -> str:
    names = [model.id for model in client.models.list()]
    return check(client.models.retrieve(site.model).id == site.model in names, names)


@report.of("chat")
def chat() -> str:
    answer = client.chat.completions.create(**ask())
    assert answer.usage
    assert answer.usage.completion_tokens
    return check("Paris" in str(answer.choices[0].message.content), answer.choices[0].message.content)


@report.of("stream")
def stream() -> str:
    chunks = list(client.chat.completions.create(**ask(stream=True, stream_options={"include_usage": True})))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text, text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    return check(chunks[-1].usage and len(chunks) > 3, f"{len(chunks)} chunks, then {chunks[-1].usage}")


@report.of("n")
def several() -> str:
    answer = client.chat.completions.create(**ask(n=2, temperature=1, seed=1))
    texts = [choice.message.content for choice in answer.choices]
    return check(len(texts) == 2 and all(texts), texts)


@report.of("stop")
def stop() -> str:
    answer = client.chat.completions.create(**ask(stop=["Paris"]))
    choice = answer.choices[0]
    return check(choice.finish_reason == "stop" and "Paris" not in str(choice.message.content), choice.message.content)


@report.of("logprobs")
def logprobs() -> str:
    answer = client.chat.completions.create(**ask(logprobs=True, top_logprobs=2))
    assert answer.choices[0].logprobs
    first = (answer.choices[0].logprobs.content or [])[0]
    return check(first.bytes and first.logprob <= 0 and len(first.top_logprobs) == 2, first)


@report.of("tool_named")
def named_tool() -> str:
    named = {"type": "function", "function": {"name": "weather"}}
    chunks = client.chat.completions.create(**ask(tools=[TOOL], tool_choice=named, stream=True))
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [delta.id for delta in deltas if delta.id] == [deltas[0].id]
    assert "".join(delta.function.name or "" for delta in deltas if delta.function) == "weather"
    arguments = "".join(delta.function.arguments or "" for delta in deltas if delta.function)
    return check(json.loads(arguments)["city"] in ("Paris", "Rome"), f"{arguments} in {len(deltas)} pieces")


@report.of("tool_auto")
def tool_of_its_own_will() -> str:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 21 degrees."}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call]}, result]
    answer = client.chat.completions.create(**ask(messages=messages, tools=[TOOL], tool_choice="auto"))
    message = answer.choices[0].message
    return check(message.content or message.tool_calls, message.content or message.tool_calls)


@report.of("structured")
def structured() -> str:
    raw = client.chat.completions.create(**ask(response_format=SCHEMA)).choices[0].message.content
    assert City.model_validate_json(raw or "")
    parse: Any = getattr(client.chat.completions, "parse", None) or client.beta.chat.completions.parse
    parsed = parse(**ask(response_format=City)).choices[0].message.parsed
    return check(isinstance(parsed, City), parsed)


@report.of("completions")
def completions() -> str:
    answer = client.completions.create(model=site.model, prompt="One, two, three,", max_tokens=10, temperature=0)
    pieces = client.completions.create(
        model=site.model, prompt="One, two, three,", max_tokens=10, temperature=0, stream=True
    )
    text = "".join(piece.choices[0].text for piece in pieces if piece.choices)
    return check("four" in text and text == answer.choices[0].text, text)


@report.of("embeddings")
def embeddings() -> str:
    packed = client.embeddings.create(model=site.model, input=["a cat", "a kitten"])
    plain = client.embeddings.create(model=site.model, input=["a cat", "a kitten"], encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-5
    return check(len(packed.data) == 2, f"2 vectors of {len(packed.data[0].embedding)}")


@report.of("batches")
def files_and_batches() -> str:
    lines = [
        {"custom_id": str(k), "method": "POST", "url": "/v1/chat/completions", "body": ask(max_tokens=5)}
        for k in range(2)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")
    assert client.files.content(file.id).read() == content
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while batch.status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.output_file_id, batch
    out = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert {row["custom_id"] for row in out} == {"0", "1"}
    assert client.files.delete(file.id).deleted
    return check(batch.status == "completed", f"{batch.status}, {batch.request_counts}")


def respond(**fields: Any) -> dict[str, Any]:
    return {"model": site.model, "input": HELLO[0]["content"], "max_output_tokens": 40, "temperature": 0, **fields}


@report.of("responses", needs="/v1/responses")
def responses() -> str:
    answer = client.responses.create(**respond())
    return check(answer.status == "completed" and "Paris" in answer.output_text, answer.output_text)


@report.of("responses_stream", needs="/v1/responses")
def responses_stream() -> str:
    opener: Any = client.responses.stream
    with opener(**respond()) as events:
        seen = [event.type for event in events]
        final = events.get_final_response()
    assert "Paris" in final.output_text, final
    return check(
        (seen[0], seen[-1]) == ("response.created", "response.completed"), f"{len(seen)} events, {final.usage}"
    )


@report.of("responses_tools", needs="/v1/responses")
def responses_tools() -> str:
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
    chosen: Any = {"type": "function", "name": "weather"}
    first = client.responses.create(**respond(tools=[tool], tool_choice=chosen))
    call: Any = next(item for item in first.output if item.type == "function_call")
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome"), call
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 21 degrees."}
    history = [*HELLO, *(item.model_dump(exclude_none=True) for item in first.output), result]
    then = client.responses.create(**respond(input=history, tools=[tool], tool_choice="none"))
    return check(then.output_text, f"{call.arguments}, then {then.output_text!r}")


@report.of("responses_structured", needs="/v1/responses")
def responses_structured() -> str:
    parsed = client.responses.parse(**respond(text_format=City)).output_parsed
    return check(isinstance(parsed, City), parsed)


@report.of("responses_background", needs="/v1/responses")
def responses_background() -> str:
    begun = client.responses.create(**respond(background=True, store=True))
    seen = [begun.status]
    answer = begun
    while answer.status in ("queued", "in_progress"):
        time.sleep(0.1)
        answer = client.responses.retrieve(begun.id)
        seen.append(answer.status)
    assert "Paris" in answer.output_text, answer
    return check((seen[0], seen[-1]) == ("queued", "completed"), sorted({str(status) for status in seen}))


@report.of("responses_chain", needs="/v1/responses")
def responses_chain() -> str:
    first = client.responses.create(**respond(store=True))
    then = client.responses.create(**respond(input="And of Italy?", previous_response_id=first.id, store=True))
    items = [item.type for item in client.responses.input_items.list(then.id)]
    assert then.usage
    assert first.usage
    assert then.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    return check(then.output_text and items, then.output_text)


@report.of("responses_resumed", needs="/v1/responses")
def responses_resumed() -> str:
    id, seen = "", []
    with client.responses.create(**respond(background=True, store=True, stream=True)) as events:
        for event in events:
            id = id or event.response.id
            seen.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                break
    rest = list(client.responses.retrieve(id, stream=True, starting_after=seen[-1]))
    seen += [event.sequence_number for event in rest]
    assert "Paris" in rest[-1].response.output_text, rest[-1]  # type: ignore[union-attr]
    return check(seen == list(range(len(seen))), f"{len(seen) - len(rest)} events, then {len(rest)}")


@report.of("wrong_key")
def wrong_key() -> str:
    stranger = client.with_options(api_key="sk-wrong")
    error = caught(openai.AuthenticationError, lambda: stranger.chat.completions.create(**ask()))
    return check(error.code == "invalid_api_key", error)


@report.of("no_such_model")
def no_such_model() -> str:
    error = caught(openai.NotFoundError, lambda: client.chat.completions.create(**ask(model="nobody")))
    return check(error.code == "model_not_found", error)


@report.of("bad_value")
def bad_value() -> str:
    error = caught(openai.BadRequestError, lambda: client.chat.completions.create(**ask(temperature=9)))
    return check(error.param == "temperature", error)


@report.of("context")
def context() -> str:
    long: Any = [{"role": "user", "content": "word " * 4000}]
    error = caught(openai.BadRequestError, lambda: client.chat.completions.create(**ask(messages=long)))
    return check(error.code == "context_length_exceeded", error)


@report.of("retries")
def retries() -> str:
    frugal = client.with_options(api_key=site.frugal)
    with site.busy_key():
        answer = frugal.chat.completions.create(**ask(max_tokens=3))
    return check(answer.choices[0].message.content, "answered after a 429")


@report.of("cancel")
def cancel() -> str:
    chunks = client.chat.completions.create(**ask(model=site.slow, max_tokens=2000, stream=True))
    next(iter(chunks))
    chunks.close()
    return site.until_idle()


if __name__ == "__main__":
    report.run()
