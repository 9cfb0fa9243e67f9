"""/openapi.json as it is.

Handlers read their bodies themselves, for errors in one shape; so what they accept is declared here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api import problems
from api.links import add_links
from queuechat import __version__
from queuechat.dialects import problems as openai
from queuechat.dialects.anthropic import problems as anthropic
from queuechat.dialects.ollama import problems as ollama
from queuechat.dialects.problems import kind_of
from queuechat.dialects.schemas import (
    BatchRequest,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    ResponseRequest,
    TokenCheckRequest,
    TokenizeRequest,
)
from queuechat.dialects.schemas.anthropic import MessagesRequest, PromptRequest
from queuechat.dialects.schemas.base import Body
from queuechat.dialects.schemas.ollama import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaShowRequest,
)
from queuechat.errors import tree

_REF = "#/components/schemas/{model}"

_BODIES: tuple[type[BaseModel], ...] = (
    *(ChatRequest, CompletionRequest, ResponseRequest, EmbeddingRequest, BatchRequest),
    *(TokenizeRequest, DetokenizeRequest, TokenCheckRequest),
    *(MessagesRequest, PromptRequest),
    *(OllamaChatRequest, OllamaGenerateRequest, OllamaEmbedRequest, OllamaEmbeddingsRequest, OllamaShowRequest),
)

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "object", "message", "code"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
        "object": {"const": "error"},
        "message": {"type": "string"},
        "code": {"type": "integer", "description": "FastChat's number"},
    },
}

_TEXT: dict[str, Any] = {"type": "string"}
_ANTHROPIC_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}},
        "request_id": _TEXT,
    },
}
_OLLAMA_ERROR: dict[str, Any] = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}

_FORMS: dict[problems.Shape, str] = {
    openai.told: "Error",
    anthropic.told: "AnthropicError",
    ollama.told: "OllamaError",
}

EVENTS, LINES = "text/event-stream", "application/x-ndjson"

IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the same key and body again: the same answer, without asking twice",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def body_of(kind: type[BaseModel], *, example: Any = None, streams: str = "", keyed: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads such a body; `streams` is the media type of what it may stream, `keyed`
    whether it heeds an Idempotency-Key."""
    content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=kind.__name__)}}
    if example is not None:
        content["example"] = example
    extra: dict[str, Any] = {
        "requestBody": {
            "required": True,
            "content": {"application/json": content},
        }
    }
    if keyed and issubclass(kind, Body):
        extra["parameters"] = [IDEMPOTENCY_KEY]
    if streams:
        extra["responses"] = {"200": {"content": {streams: {}}}}
    return extra


def told(*required: str, **properties: Any) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route whose 200 is an object that has these keys; `properties` are schemas of some."""
    schema = {"type": "object", "required": [*required], "properties": properties}
    return {200: {"content": {"application/json": {"schema": schema}}}}


def shown(kind: str, *required: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers one of OpenAI's objects, whose `object` is `kind`."""
    return told("object", *required, object={"const": kind})


def listed(kind: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers a list of such objects."""
    row = {"type": "object", "required": ["object"], "properties": {"object": {"const": kind}}}
    return told("object", "data", object={"const": "list"}, data={"type": "array", "items": row})


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies' schemas and what every route may answer."""
    if app.openapi_schema is None:
        made = get_openapi(title="queuechat", version=__version__, description=app.description, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR, "OllamaError": _OLLAMA_ERROR}
        for kind in _BODIES:
            schema = kind.model_json_schema(ref_template=_REF)
            schemas |= schema.pop("$defs", {})
            schemas[kind.__name__] = schema
        for path, operations in made["paths"].items():
            for operation in operations.values():
                _complete(path, operation["responses"])
        add_links(made["paths"])
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}, {}]
        app.openapi_schema = made
    return app.openapi_schema


def _complete(path: str, responses: dict[str, Any]) -> None:
    """Every route may answer any error of the tree, and never FastAPI's own 422; what a route tells itself stays."""
    responses.pop("422", None)
    good = responses.get("200", {}).get("content", {})
    if good.get("application/json") == {"schema": {}}:
        good["application/json"] = {"schema": {"type": "object"}}
    fault = {"application/json": {"schema": {"$ref": _REF.format(model=_FORMS[problems.shape_of(path)])}}}
    for status, text in _faults().items():
        responses.setdefault(status, {"description": text, "content": fault})


def _faults() -> dict[str, str]:
    """The classes of statuses that errors have, with the statuses and codes of each."""
    found: dict[str, set[str]] = {}
    for kind in tree():
        status = kind_of(kind("")).status
        found.setdefault(f"{status // 100}XX", set()).add(f"{status} {kind.code}")
    return {name: ", ".join(sorted(codes)) for name, codes in found.items()}
