"""What is wrong in a body many times over is found once: each finding costs more than the item that it is about."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import BaseModel, ValidationError

from queuechat.dialects.schemas import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ResponseRequest,
    TokenizeRequest,
    parse,
)
from queuechat.dialects.schemas.anthropic import MessagesRequest
from queuechat.dialects.schemas.ollama import OllamaChatRequest, OllamaGenerateRequest
from queuechat.dialects.schemas.parse import MAX_NODES
from queuechat.errors import InvalidRequest

MANY = 10_000
SAID = [{"role": "user", "content": "x"}]
ONES: list[Any] = [1] * MANY
NOTHINGS: list[Any] = [{}] * MANY
ODD = {f"x{k}": "y" for k in range(MANY)}

BODIES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (ChatRequest, {"messages": NOTHINGS}),
    (ChatRequest, {"messages": [{"role": "user", "content": ONES}]}),
    (ChatRequest, {"messages": [{"role": "user", "content": NOTHINGS}]}),
    (ChatRequest, {"messages": [{"role": "assistant", "tool_calls": NOTHINGS}]}),
    (ChatRequest, {"messages": SAID, "tools": NOTHINGS}),
    (ChatRequest, {"messages": SAID, "functions": ONES}),
    (ChatRequest, {"messages": SAID, "guided_choice": ONES}),
    (ChatRequest, {"messages": SAID, "structured_outputs": {"choice": ONES}}),
    (ChatRequest, {"messages": SAID, "logit_bias": ODD}),
    (ChatRequest, {"messages": SAID, "stop": ONES}),
    (TokenizeRequest, {"messages": NOTHINGS}),
    (CompletionRequest, {"prompt": NOTHINGS}),
    (EmbeddingRequest, {"input": NOTHINGS}),
    (ResponseRequest, {"input": ONES}),
    (ResponseRequest, {"input": "x", "include": ONES}),
    (ResponseRequest, {"input": "x", "metadata": dict.fromkeys(ODD, 1)}),
    (ResponseRequest, {"input": [{"role": "user", "content": ONES}]}),
    (ResponseRequest, {"input": [{"type": "reasoning", "summary": ONES, "content": NOTHINGS}]}),
    (ResponseRequest, {"input": [{"type": "function_call_output", "call_id": "c", "output": NOTHINGS}]}),
    (MessagesRequest, {"messages": NOTHINGS}),
    (MessagesRequest, {"messages": SAID, "system": NOTHINGS}),
    (MessagesRequest, {"messages": [{"role": "user", "content": NOTHINGS}]}),
    (MessagesRequest, {"messages": SAID, "tools": NOTHINGS}),
    (OllamaChatRequest, {"messages": NOTHINGS}),
    (OllamaChatRequest, {"messages": SAID, "tools": ONES}),
    (OllamaChatRequest, {"messages": [{"role": "user", "images": ONES}]}),
    (OllamaGenerateRequest, {"images": ONES}),
    (OllamaGenerateRequest, {"context": ["x"] * MANY}),
]


@pytest.mark.parametrize(("kind", "fields"), BODIES)
def test_there_are_few_findings_however_much_is_wrong(kind: type[BaseModel], fields: dict[str, Any]) -> None:
    body = {"model": "m", "max_tokens": 1, **fields}
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(body)
    assert caught.value.error_count() < 20
    with pytest.raises(InvalidRequest):
        parse(orjson.dumps(body), kind)


def test_a_body_has_only_so_many_lists_and_objects_but_any_text() -> None:
    code = "[{" * MAX_NODES + '\\"'
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": code}]}
    assert parse(orjson.dumps(body), ChatRequest).messages[0].content == code
    with pytest.raises(InvalidRequest, match="lists and objects"):
        parse(orjson.dumps(body | {"junk": [[]] * MAX_NODES}), ChatRequest)
