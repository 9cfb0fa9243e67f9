"""langchain-openai: ChatOpenAI and OpenAIEmbeddings; the latter with check_embedding_ctx_length=False, or it sends the
token ids of another model."""

from __future__ import annotations

from typing import Any, Literal

import openai
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, ConfigDict

from tests.compat.report import Report, Site, caught, check

site = Site.told()
report = Report(site)
HELLO = "What is the capital of France?"
HEARD: Any = [HumanMessage(HELLO)]


class City(BaseModel):
    """A city."""

    model_config = ConfigDict(extra="forbid")  # or a small model invents fields for ever

    name: Literal["Paris", "Rome"]
    big: bool


def _weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather of a city."""
    return "Sunny, 21 degrees."


weather: Any = tool("weather")(_weather)


def chat_of(**fields: Any) -> Any:
    known = {"model": site.model, "base_url": site.v1, "api_key": site.key, "max_tokens": 40, "temperature": 0}
    return ChatOpenAI(**{**known, **fields})


def respond_of(**fields: Any) -> Any:
    return chat_of(use_responses_api=True, **fields)


@report.of("chat")
def chat() -> str:
    answer = chat_of().invoke(HELLO)
    assert answer.usage_metadata["output_tokens"], answer
    return check("Paris" in answer.content, answer.content)


@report.of("stream")
def stream() -> str:
    chunks = list(chat_of(stream_usage=True).stream(HELLO))
    text = "".join(chunk.content for chunk in chunks)
    used = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    return check("Paris" in text and len(used) == 1, f"{len(chunks)} chunks, {used}")


@report.of("n")
def several() -> str:
    answers = chat_of(n=2, temperature=1, seed=1).generate([HEARD]).generations[0]
    return check(len(answers) == 2 and all(one.text for one in answers), [one.text for one in answers])


@report.of("stop")
def stop() -> str:
    text = chat_of(stop=["Paris"]).invoke(HELLO).content
    return check("Paris" not in text and "capital" in text, text)


@report.of("logprobs")
def logprobs() -> str:
    answer = chat_of(logprobs=True, top_logprobs=2).invoke(HELLO)
    first = answer.response_metadata["logprobs"]["content"][0]
    return check(len(first["top_logprobs"]) == 2, first)


@report.of("tool_named")
def named_tool() -> str:
    chunks = list(chat_of().bind_tools([weather], tool_choice="weather").stream(HELLO))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    (call,) = whole.tool_calls
    return check(call["name"] == "weather" and call["args"]["city"] in ("Paris", "Rome"), call)


@report.of("tool_auto")
def tool_of_its_own_will() -> str:
    call = AIMessage("", tool_calls=[{"id": "call_1", "name": "weather", "args": {"city": "Paris"}}])
    result = ToolMessage("Sunny, 21 degrees.", tool_call_id="call_1")
    answer = chat_of().bind_tools([weather]).invoke([*HEARD, call, result])
    return check(answer.content or answer.tool_calls, answer.content or answer.tool_calls)


@report.of("structured")
def structured() -> str:
    methods: Any = ("json_schema", "function_calling")
    got = [chat_of(max_tokens=200).with_structured_output(City, method=m).invoke(HELLO) for m in methods]
    return check(all(isinstance(one, City) for one in got), got)


@report.of("completions")
def completions() -> str:
    model: Any = OpenAI(model=site.model, base_url=site.v1, api_key=site.key, max_tokens=10, temperature=0)
    text = model.invoke("One, two, three,")
    assert "".join(model.stream("One, two, three,")) == text
    return check("four" in text, text)


@report.of("embeddings")
def embeddings() -> str:
    model = OpenAIEmbeddings(
        model=site.model,
        base_url=site.v1,
        api_key=site.key,
        check_embedding_ctx_length=False,
    )
    vectors = model.embed_documents(["a cat", "a kitten"])
    return check(len(vectors) == 2, f"2 vectors of {len(vectors[0])}")


@report.of("responses", needs="/v1/responses")
def responses() -> str:
    text = respond_of().invoke(HELLO).text
    return check("Paris" in text, text)


@report.of("responses_stream", needs="/v1/responses")
def responses_stream() -> str:
    text = "".join(chunk.text for chunk in respond_of().stream(HELLO))
    return check("Paris" in text, text)


@report.of("responses_tools", needs="/v1/responses")
def responses_tools() -> str:
    (call,) = respond_of().bind_tools([weather], tool_choice="weather").invoke(HELLO).tool_calls
    return check(call["name"] == "weather" and call["args"]["city"] in ("Paris", "Rome"), call)


@report.of("responses_structured", needs="/v1/responses")
def responses_structured() -> str:
    got = respond_of().with_structured_output(City).invoke(HELLO)
    return check(isinstance(got, City), got)


@report.of("responses_chain", needs="/v1/responses")
def responses_chain() -> str:
    model = respond_of(use_previous_response_id=True, store=True)
    first = model.invoke(HELLO)
    then = model.invoke([*HEARD, first, HumanMessage("And of Italy?")])
    return check(then.text, then.text)


@report.of("wrong_key")
def wrong_key() -> str:
    return str(caught(openai.AuthenticationError, lambda: chat_of(api_key="sk-wrong").invoke(HELLO)))


@report.of("no_such_model")
def no_such_model() -> str:
    return str(caught(openai.NotFoundError, lambda: chat_of(model="nobody").invoke(HELLO)))


@report.of("bad_value")
def bad_value() -> str:
    return str(caught(openai.BadRequestError, lambda: chat_of(temperature=9).invoke(HELLO)))


@report.of("context")
def context() -> str:
    return str(caught(ContextOverflowError, lambda: chat_of().invoke("word " * 4000)))


@report.of("retries")
def retries() -> str:
    with site.busy_key():
        answer = chat_of(api_key=site.frugal, max_tokens=3).invoke(HELLO)
    return check(answer.content, "answered after a 429")


@report.of("cancel")
def cancel() -> str:
    chunks = chat_of(model=site.slow, max_tokens=2000).stream(HELLO)
    next(chunks)
    chunks.close()
    return site.until_idle()


if __name__ == "__main__":
    report.run()
