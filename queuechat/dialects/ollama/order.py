"""The orders that bodies place: a chat, a prompt or inputs of OpenAI's, which know what the model can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from queuechat.dialects import chat, completions, embeddings
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.schemas import ChatRequest, CompletionRequest, EmbeddingRequest
from queuechat.dialects.schemas.ollama import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaGeneration,
    OllamaTurn,
)
from queuechat.dialects.schemas.parse import checked
from queuechat.errors import InvalidRequest, UnsupportedParameter

Idem = tuple[str, str] | None

_PICTURES = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}  # how their base64 begins


def as_openai(body: OllamaChatRequest | OllamaGenerateRequest) -> ChatRequest | CompletionRequest:
    """The same as a chat completion, or as a completion where no template is wanted.

    Raises:
        InvalidRequest, UnsupportedParameter: it makes no sense as one.
    """
    if isinstance(body, OllamaChatRequest):
        return _as_chat(body, list(_turns(body.messages or [])), tools=body.tools)
    if not body.templated:
        prompt = {"model": body.model, "prompt": body.prompt or "", "suffix": body.suffix}
        return checked(_options(body) | prompt, CompletionRequest)
    system = [{"role": "system", "content": body.system}] if body.system else []
    asked = {"role": "user", "content": _content(body.prompt or "", body.images or [], "images")}
    return _as_chat(body, [*system, asked])


def order_of(body: OllamaGeneration, asked: ChatRequest | CompletionRequest, slip: Slip, idem: Idem = None) -> Order:
    """`asked` is the body in OpenAI's form. An answer that the context has no room for ends there, as Ollama's do.

    Raises:
        InvalidRequest, UnsupportedParameter: the model cannot do it.
    """
    if body.thinks and not slip.card.reasoning:
        raise UnsupportedParameter(f"the model {body.model!r} does not think: leave `think` out", param="think")
    if isinstance(asked, ChatRequest):
        order = chat.order_of(asked, slip, idem)
    else:
        order = completions.order_of(asked, slip, idem)
    limit = body.options.limit if body.options else None
    jobs = [replace(job, max_tokens=limit, fit=True) for job in order.jobs]
    return replace(order, jobs=jobs, ignored=[*body.ignored, *order.ignored])


def inputs_of(body: OllamaEmbedRequest | OllamaEmbeddingsRequest) -> EmbeddingRequest:
    """The same in OpenAI's form."""
    asked: dict[str, Any] = {"model": body.model, "encoding_format": "float"}
    if isinstance(body, OllamaEmbedRequest):
        return checked(asked | {"input": body.input, "dimensions": body.dimensions}, EmbeddingRequest)
    return checked(asked | {"input": body.prompt}, EmbeddingRequest)


def embedding_order(body: OllamaEmbedRequest | OllamaEmbeddingsRequest, slip: Slip, idem: Idem = None) -> Order:
    """Raises UnsupportedParameter: the model gives no embeddings."""
    if not slip.card.embeds:
        raise UnsupportedParameter(f"the model {body.model!r} gives no embeddings; pick another", param="model")
    return replace(embeddings.order_of(inputs_of(body), slip, idem), ignored=body.ignored)


def _as_chat(body: OllamaGeneration, messages: list[dict[str, Any]], **more: Any) -> ChatRequest:
    asked = {
        **_options(body),
        **more,
        "model": body.model,
        "messages": messages,
        "reasoning_effort": _effort(body),
        "response_format": _format(body.format),
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs if body.logprobs else None,
    }
    return checked(asked, ChatRequest)


def _options(body: OllamaGeneration) -> dict[str, Any]:
    return body.options.told() if body.options else {}


def _effort(body: OllamaGeneration) -> str | None:
    if isinstance(body.think, str):
        return body.think
    return None if body.think is None else "medium" if body.think else "none"


def _format(form: Any) -> dict[str, Any] | None:
    if not form:
        return None
    if form == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "format", "schema": form}}


def _turns(turns: Sequence[OllamaTurn]) -> Iterator[dict[str, Any]]:
    """OpenAI's messages. Calls have ids there, by which results are known; here a result has the name at most."""
    waiting: list[tuple[str, str]] = []  # calls without a result yet, as (id, name)
    count = 0
    for k, turn in enumerate(turns):
        content = _content(turn.content or "", turn.images or [], f"messages[{k}].images")
        message: dict[str, Any] = {"role": turn.role, "content": content}
        if turn.thinking and turn.role == "assistant":
            message["reasoning_content"] = turn.thinking
        if turn.role == "tool":
            message["tool_call_id"] = turn.tool_call_id or _answered(waiting, turn.tool_name)
        elif turn.tool_calls:
            message["tool_calls"] = []
            for call in turn.tool_calls:
                id, count = call.id or f"call_{count}", count + 1
                waiting.append((id, call.function.name))
                told = {"name": call.function.name, "arguments": orjson.dumps(call.function.arguments).decode()}
                message["tool_calls"].append({"id": id, "type": "function", "function": told})
        yield message


def _answered(waiting: list[tuple[str, str]], name: str | None) -> str:
    """The id of the call that a result is of: the first of that name, else the first of all."""
    found = next((call for call in waiting if call[1] == name), next(iter(waiting), None))
    if found is None:
        return f"call_{name or 0}"
    waiting.remove(found)
    return found[0]


def _content(text: str, images: Sequence[str], path: str) -> str | list[dict[str, Any]]:
    if not images:
        return text
    parts = [
        {"type": "image_url", "image_url": {"url": _address(image, f"{path}[{k}]")}} for k, image in enumerate(images)
    ]
    return [{"type": "text", "text": text}, *parts] if text else parts


def _address(image: str, path: str) -> str:
    kind = next((kind for start, kind in _PICTURES.items() if image.startswith(start)), None)
    if kind is None:
        raise InvalidRequest(f"`{path}` must be the base64 of a PNG, JPEG, GIF or WebP image", param=path)
    return f"data:image/{kind};base64,{image}"
