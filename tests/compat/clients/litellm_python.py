"""litellm: the model as `hosted_vllm/NAME` or `openai/NAME`, the base URL as `api_base`."""

from __future__ import annotations

import json
from typing import Any, Literal

import litellm
from pydantic import BaseModel

from tests.compat.report import WEATHER, Report, Site, caught, check

site = Site.told()
report = Report(site)
HELLO: Any = [{"role": "user", "content": "What is the capital of France?"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
WHERE: Any = {"api_base": site.v1, "api_key": site.key}
litellm.suppress_debug_info = True


class City(BaseModel):
    name: Literal["Paris", "Rome"]
    big: bool


def ask(**fields: Any) -> Any:
    few = {"model": f"openai/{site.model}", "messages": HELLO, "max_tokens": 40, "temperature": 0}
    return litellm.completion(**{**few, **WHERE, **fields})


@report.of("chat")
def chat() -> str:
    texts = [ask(model=f"{as_}/{site.model}").choices[0].message.content for as_ in ("openai", "hosted_vllm")]
    return check(all("Paris" in text for text in texts), texts)


@report.of("stream")
def stream() -> str:
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return check("Paris" in text and chunks[-1].usage, f"{len(chunks)} chunks, {chunks[-1].usage}")


@report.of("n")
def several() -> str:
    texts = [choice.message.content for choice in ask(n=2, temperature=1, seed=1).choices]
    return check(len(texts) == 2 and all(texts), texts)


@report.of("stop")
def stop() -> str:
    text = ask(stop=["Paris"]).choices[0].message.content
    return check("Paris" not in text and "capital" in text, text)


@report.of("logprobs")
def logprobs() -> str:
    first = ask(logprobs=True, top_logprobs=2).choices[0].logprobs.content[0]
    return check(len(first.top_logprobs) == 2, first)


@report.of("tool_named")
def named_tool() -> str:
    named = {"type": "function", "function": {"name": "weather"}}
    chunks = list(ask(tools=[TOOL], tool_choice=named, stream=True))
    whole: Any = litellm.stream_chunk_builder(chunks)
    (call,) = whole.choices[0].message.tool_calls
    return check(json.loads(call.function.arguments)["city"] in ("Paris", "Rome"), call)


@report.of("tool_auto")
def tool_of_its_own_will() -> str:
    message = ask(tools=[TOOL], tool_choice="auto").choices[0].message
    return check(message.content or message.tool_calls, message.content or message.tool_calls)


@report.of("structured")
def structured() -> str:
    return str(City.model_validate_json(ask(response_format=City).choices[0].message.content))


@report.of("completions")
def completions() -> str:
    few: Any = {"model": f"text-completion-openai/{site.model}", "max_tokens": 10, "temperature": 0, **WHERE}
    text = litellm.text_completion(prompt="One, two, three,", **few).choices[0].text
    return check("four" in text, text)


@report.of("embeddings")
def embeddings() -> str:
    rows = litellm.embedding(model=f"openai/{site.model}", input=["a cat", "a kitten"], **WHERE).data
    return check(len(rows) == 2, f"2 vectors of {len(rows[0]['embedding'])}")


@report.of("responses", needs="/v1/responses")
def responses() -> str:
    few: Any = {"model": f"openai/{site.model}", "input": HELLO[0]["content"], "max_output_tokens": 40, **WHERE}
    answer: Any = litellm.responses(temperature=0, **few)
    return check("Paris" in answer.output[0].content[0].text, answer.output)


@report.of("responses_stream", needs="/v1/responses")
def responses_stream() -> str:
    few: Any = {"model": f"openai/{site.model}", "input": HELLO[0]["content"], "max_output_tokens": 40, **WHERE}
    events: Any = list(litellm.responses(temperature=0, stream=True, **few))
    return check(events[-1].type == "response.completed", f"{len(events)} events")


@report.of("messages", needs="/v1/messages")
def messages() -> str:
    answer = ask(model=f"anthropic/{site.model}", api_base=site.root)
    return check("Paris" in answer.choices[0].message.content, answer.choices[0].message.content)


@report.of("messages_stream", needs="/v1/messages")
def messages_stream() -> str:
    chunks = list(ask(model=f"anthropic/{site.model}", api_base=site.root, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return check("Paris" in text, text)


@report.of("ollama_chat", needs="/api/chat")
def ollama_chat() -> str:
    answer = ask(model=f"ollama_chat/{site.model}", api_base=site.root)
    return check("Paris" in answer.choices[0].message.content, answer.choices[0].message.content)


@report.of("wrong_key")
def wrong_key() -> str:
    return str(caught(litellm.AuthenticationError, lambda: ask(api_key="sk-wrong")))


@report.of("no_such_model")
def no_such_model() -> str:
    return str(caught(litellm.NotFoundError, lambda: ask(model="openai/nobody")))


@report.of("bad_value")
def bad_value() -> str:
    return str(caught(litellm.BadRequestError, lambda: ask(temperature=9)))


@report.of("context")
def context() -> str:
    long: Any = [{"role": "user", "content": "word " * 4000}]
    return str(caught(litellm.ContextWindowExceededError, lambda: ask(messages=long)))


@report.of("retries")
def retries() -> str:
    with site.busy_key():
        answer = ask(api_key=site.frugal, max_tokens=3, num_retries=2)
    return check(answer.choices[0].message.content, "answered after a 429")


@report.of("cancel")
def cancel() -> str:
    chunks = ask(model=f"openai/{site.slow}", max_tokens=2000, stream=True)
    next(chunks)
    chunks.completion_stream.close()
    return site.until_idle()


if __name__ == "__main__":
    report.run()
