"""/openapi.json as it is, and /docs without a content network.

Handlers read their bodies themselves, for errors in one shape; so what they accept is declared here.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from queuechat import __version__
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
from queuechat.dialects.schemas.ollama import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaShowRequest,
)

_REF = "#/components/schemas/{model}"
_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css")

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


def body_of(kind: type[BaseModel], error: str = "Error") -> dict[str, Any]:
    """The `openapi_extra` of a route that reads such a body and answers errors so."""
    schema = {"$ref": _REF.format(model=kind.__name__)}
    shape = {"$ref": _REF.format(model=error)}
    problem = {"description": "Error", "content": {"application/json": {"schema": shape}}}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"4XX": problem, "5XX": problem},
    }


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies' schemas."""
    if app.openapi_schema is None:
        made = get_openapi(title="queuechat", version=__version__, description=app.description, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR, "OllamaError": _OLLAMA_ERROR}
        for kind in _BODIES:
            schema = kind.model_json_schema(ref_template=_REF)
            schemas |= schema.pop("$defs", {})
            schemas[kind.__name__] = schema
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}, {}]
        app.openapi_schema = made
    return app.openapi_schema


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI from the package that carries it."""
    assets = files("fastapi_offline").joinpath("static")

    async def docs(_: Request) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="queuechat",
            swagger_js_url=f"/docs/{_ASSETS[0]}",
            swagger_css_url=f"/docs/{_ASSETS[1]}",
            swagger_favicon_url="data:,",
        )

    def serve(name: str) -> None:
        async def asset(_: Request) -> Response:
            return FileResponse(str(assets.joinpath(name)))

        app.add_route(f"/docs/{name}", asset, include_in_schema=False)

    app.add_route("/docs", docs, include_in_schema=False)
    for name in _ASSETS:
        serve(name)
