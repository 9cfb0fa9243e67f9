"""LlamaIndex: OpenAILike with is_chat_model=True (else it asks /v1/completions) and is_function_calling_model=True."""

import asyncio
from typing import Any, Literal

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from tests.compat.report import Report, Site, caught, check

site = Site.told()
report = Report(site)
HELLO = "What is the capital of France?"
HEARD = [ChatMessage(role="user", content=HELLO)]


class City(BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]
    big: bool


def weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather of a city."""
    return "Sunny, 21 degrees."


def model_of(**fields: Any) -> Any:
    known = {"model": site.model, "api_base": site.v1, "api_key": site.key, "max_tokens": 40, "temperature": 0}
    chat = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 2048}
    return OpenAILike(**{**known, **chat, **fields})


@report.of("chat")
def chat() -> str:
    text = model_of().chat(HEARD).message.content
    return check("Paris" in text, text)


@report.of("stream")
def stream() -> str:
    pieces = list(model_of(additional_kwargs={"stream_options": {"include_usage": True}}).stream_chat(HEARD))
    text = "".join(piece.delta or "" for piece in pieces)
    assert pieces[-1].raw.usage, pieces[-1]
    return check("Paris" in text, f"{len(pieces)} pieces, {pieces[-1].raw.usage}")


@report.of("stop")
def stop() -> str:
    text = model_of().chat(HEARD, stop=["Paris"]).message.content
    return check("Paris" not in text and "capital" in text, text)


@report.of("logprobs")
def logprobs() -> str:
    answer = model_of(logprobs=True, top_logprobs=2).chat(HEARD)
    return check(len(answer.logprobs[0]) == 2, answer.logprobs[0])


@report.of("tool_named")
def named_tool() -> str:
    tool = FunctionTool.from_defaults(weather)
    model = model_of()
    *_, last = model.stream_chat_with_tools([tool], user_msg=HELLO, tool_choice="weather")
    (call,) = model.get_tool_calls_from_response(last)
    return check(call.tool_kwargs["city"] in ("Paris", "Rome"), call)


@report.of("tool_auto")
def tool_of_its_own_will() -> str:
    answer = model_of().chat_with_tools([FunctionTool.from_defaults(weather)], user_msg=HELLO)
    message = answer.message
    return check(message.content or message.additional_kwargs, message)


@report.of("structured")
def structured() -> str:
    got = model_of(should_use_structured_outputs=True).as_structured_llm(City).complete(HELLO).raw
    return check(isinstance(got, City), got)


@report.of("completions")
def completions() -> str:
    model = model_of(is_chat_model=False, is_function_calling_model=False, max_tokens=10)
    text = model.complete("One, two, three,").text
    assert "".join(piece.delta for piece in model.stream_complete("One, two, three,")) == text
    return check("four" in text, text)


@report.of("embeddings")
def embeddings() -> str:
    model = OpenAILikeEmbedding(model_name=site.model, api_base=site.v1, api_key=site.key)
    vectors = model.get_text_embedding_batch(["a cat", "a kitten"])
    return check(len(vectors) == 2, f"2 vectors of {len(vectors[0])}")


@report.of("wrong_key")
def wrong_key() -> str:
    return str(caught(openai.AuthenticationError, lambda: model_of(api_key="sk-wrong").chat(HEARD)))


@report.of("no_such_model")
def no_such_model() -> str:
    return str(caught(openai.NotFoundError, lambda: model_of(model="nobody").chat(HEARD)))


@report.of("bad_value")
def bad_value() -> str:
    return str(caught(openai.BadRequestError, lambda: model_of().chat(HEARD, top_p=9)))


@report.of("retries")
def retries() -> str:
    with site.busy_key():
        answer = model_of(api_key=site.frugal, max_tokens=3).chat(HEARD)
    return check(answer.message.content, "answered after a 429")


@report.of("cancel")
async def cancel() -> str:
    pieces = await model_of(model=site.slow, max_tokens=2000).astream_chat(HEARD)
    reading = asyncio.create_task(_read(pieces, begun := asyncio.Event()))
    await begun.wait()
    reading.cancel()
    await asyncio.wait([reading])
    return site.until_idle()


async def _read(pieces: Any, begun: asyncio.Event) -> None:
    async for _ in pieces:
        begun.set()


if __name__ == "__main__":
    report.run()
