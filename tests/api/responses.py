"""How tests ask for responses and read their events."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.api.hand import Hand

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [
    {"type": "function", "name": name, "description": name, "parameters": SCHEMA, "strict": False}
    for name in ("weather", "time")
]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
TERMINAL = ("response.completed", "response.incomplete", "response.failed")


def ask(hand: Hand, **fields: object) -> dict[str, Any]:
    return {"model": hand.model, "input": "hello", **fields}


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream, which must look as OpenAI's do."""
    events = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            assert [line.partition(": ")[0] for line in lines] == ["event", "data"], block
            event = json.loads(lines[1].removeprefix("data: "))
            assert lines[0] == f"event: {event['type']}"
            events.append(event)
    return events


async def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "text/event-stream", await response.aread()
    return events_of((await response.aread()).decode())


def kinds(told: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in told]


def cut(text: str, size: int = 5) -> list[str]:
    return [text[k : k + size] for k in range(0, len(text), size)]
