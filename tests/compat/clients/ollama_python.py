"""ollama-python: host without a path; the key is a header, because Ollama itself has none."""

from __future__ import annotations

from typing import Any

import ollama
from ollama import Client

from tests.compat.report import CITY, WEATHER, Report, Site, caught, check

site = Site.told()
report = Report(site)


def client_of(key: str) -> Client:
    return Client(host=site.root, headers={"Authorization": f"Bearer {key}"})


client = client_of(site.key)
HELLO: Any = [{"role": "user", "content": "What is the capital of France?"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "description": "Its weather.", "parameters": WEATHER}}


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": site.model, "messages": HELLO, "options": {"temperature": 0, "num_predict": 40}, **fields}


@report.of("ollama_tags", needs="/api/tags")
def tags() -> str:
    names = [model.model for model in client.list().models]
    shown = client.show(site.model)
    assert "completion" in (shown.capabilities or []), shown
    return check(any(str(name).split(":")[0] == site.model for name in names), names)


@report.of("ollama_chat", needs="/api/chat")
def chat() -> str:
    answer = client.chat(**ask())
    assert answer.done
    assert answer.eval_count
    return check("Paris" in str(answer.message.content), answer.message.content)


@report.of("ollama_stream", needs="/api/chat")
def stream() -> str:
    pieces = list(client.chat(**ask(stream=True)))
    text = "".join(piece.message.content or "" for piece in pieces)
    assert [piece.done for piece in pieces].index(True) == len(pieces) - 1
    return check("Paris" in text and pieces[-1].done_reason == "stop", f"{len(pieces)} pieces, {pieces[-1].eval_count}")


@report.of("ollama_tools", needs="/api/chat")
def tools() -> str:
    call = {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    result = {"role": "tool", "tool_name": "weather", "content": "Sunny, 21 degrees."}
    history = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}, result]
    message = client.chat(**ask(messages=history, tools=[TOOL])).message
    return check(message.content or message.tool_calls, message)


@report.of("ollama_structured", needs="/api/chat")
def structured() -> str:
    content = client.chat(**ask(format=CITY)).message.content
    return check('"name"' in str(content) and '"big"' in str(content), content)


@report.of("ollama_generate", needs="/api/generate")
def generate() -> str:
    answer = client.generate(model=site.model, prompt="What is the capital of France?", options={"num_predict": 20})
    pieces = client.generate(model=site.model, prompt="Hi", stream=True, options={"num_predict": 10, "seed": 1})
    text = "".join(piece.response for piece in pieces)
    return check(answer.response and text, answer.response)


@report.of("ollama_embed", needs="/api/embed")
def embed() -> str:
    vectors = client.embed(model=site.model, input=["a cat", "a kitten"]).embeddings
    return check(len(vectors) == 2, f"2 vectors of {len(vectors[0])}")


@report.of("wrong_key", needs="/api/chat")
def wrong_key() -> str:
    error = caught(ollama.ResponseError, lambda: client_of("sk-wrong").chat(**ask()))
    return check(error.status_code == 401, error)


@report.of("no_such_model", needs="/api/chat")
def no_such_model() -> str:
    error = caught(ollama.ResponseError, lambda: client.chat(**ask(model="nobody")))
    return check(error.status_code == 404, error)


@report.of("bad_value", needs="/api/chat")
def bad_value() -> str:
    error = caught(ollama.ResponseError, lambda: client.chat(**ask(options={"temperature": 9})))
    return check(error.status_code == 400, error)


@report.of("cancel", needs="/api/chat")
def cancel() -> str:
    pieces: Any = client.chat(**ask(model=site.slow, stream=True, options={"num_predict": 2000}))
    next(pieces)
    pieces.close()
    return site.until_idle()


if __name__ == "__main__":
    report.run()
