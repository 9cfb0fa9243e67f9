"""Messages about tools, for templates that have their own ideas of them, or none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

Messages = list[dict[str, Any]]

_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
_TOLD = (
    "You can call these functions:\n{tools}\n"
    "To call some, answer with nothing but a JSON list: "
    '[{{"name": "<name of the function>", "arguments": {{<its arguments>}}}}]\n'
    "Their results come back to you. Otherwise answer as usual."
)


def speaks_of_tools(messages: Messages) -> bool:
    """Whether there are calls, or results of calls."""
    return any(message.get("role") == "tool" or message.get("tool_calls") for message in messages)


def with_short_ids(messages: Messages) -> Messages:
    """Ids of nine letters and digits, as Mistral's templates demand; the same for the same id."""
    return [_shortened(message) for message in messages]


def in_words(messages: Messages, tools: Sequence[dict[str, Any]]) -> Messages:
    """The same without tool roles: tools told in the system message, calls as the JSON that it asks for, results as
    the user's words."""
    told = [_told(message) for message in messages]
    if not tools:
        return told
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    text = _TOLD.format(tools=listed)
    if told[0].get("role") in ("system", "developer"):
        return [told[0] | {"content": f"{_text(told[0])}\n\n{text}"}, *told[1:]]
    return [{"role": "system", "content": text}, *told]


def _told(message: dict[str, Any]) -> dict[str, Any]:
    if message.get("role") == "tool":
        return {"role": "user", "content": f"Result of the call {message['tool_call_id']}:\n{_text(message)}"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    rows = ", ".join(
        f'{{"name": {json.dumps(call["function"]["name"])}, "arguments": {call["function"]["arguments"] or "{}"}}}'
        for call in calls
    )
    content = _text(message)
    return {"role": "assistant", "content": f"{content}\n[{rows}]" if content else f"[{rows}]"}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    if message.get("role") == "tool":
        return message | {"tool_call_id": _short(message["tool_call_id"])}
    if calls := message.get("tool_calls"):
        return message | {"tool_calls": [call | {"id": _short(call["id"])} for call in calls]}
    return message


def _short(id: str) -> str:
    return id if _SHORT_ID.fullmatch(id) else hashlib.sha256(id.encode()).hexdigest()[:9]
