"""OpenAPI's links: what can be asked about what an operation has made."""

from __future__ import annotations

from typing import Any

_REQUESTS = "/v1/requests/{id}"
_ASKING = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")


def add_links(paths: dict[str, Any]) -> None:
    """Link each POST that makes a resource to the operations on it, and each that asks a model to those on requests."""
    for path, operations in paths.items():
        answer = operations.get("post", {}).get("responses", {}).get("200")
        if answer is None:
            continue
        links = _links(paths, f"{path}/{{id}}", "$response.body#/id")
        if path in _ASKING:
            links |= _links(paths, _REQUESTS, "$response.header.x-queuechat-request-id")
        if links:
            answer["links"] = links


def _links(paths: dict[str, Any], resource: str, id: str) -> dict[str, Any]:
    return {
        operation["operationId"]: {"operationId": operation["operationId"], "parameters": {"id": id}}
        for path, operations in paths.items()
        if path == resource or path.startswith(f"{resource}/")
        for operation in operations.values()
    }
