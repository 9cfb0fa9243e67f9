"""Items of a conversation, as inputs and outputs hold them, to the turns of a chat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def turns_of(instructions: str | None, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """For the worker's template. Thoughts, text and calls of the assistant that follow each other are one turn."""
    turns: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        if item["type"] == "function_call_output":
            turns.append({"role": "tool", "content": _content(item["output"]), "tool_call_id": item["call_id"]})
        elif item["type"] == "message" and item["role"] != "assistant":
            turns.append({"role": item["role"], "content": _content(item["content"])})
        else:
            _speak(turns, item)
    return turns


def _speak(turns: list[dict[str, Any]], item: dict[str, Any]) -> None:
    """Add to what the assistant is saying, or begin a turn of it. The order of a turn is thoughts, text, calls."""
    turn = turns[-1] if turns and turns[-1]["role"] == "assistant" else None
    if item["type"] == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        turn = turn or _begin(turns)
        turn.setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": function})
        return
    if turn is None or turn["content"] is not None or "tool_calls" in turn:
        turn = None
    if item["type"] == "message":
        turn = turn or _begin(turns)
        turn["content"] = _content(item["content"])
    elif thoughts := "".join(part["text"] for part in item["content"] or []):
        turn = turn or _begin(turns)
        turn["reasoning_content"] = turn.get("reasoning_content", "") + thoughts


def _begin(turns: list[dict[str, Any]]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": None}
    turns.append(turn)
    return turn


def _content(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text is told as a string, which every template takes; of an image, that there is one."""
    if isinstance(content, str):
        return content
    parts = [_told(part) for part in content]
    return parts[0]["text"] if len(parts) == 1 and "text" in parts[0] else parts


def _told(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "input_image":
        return {"type": "image"}
    return {"type": "text", "text": part["refusal"] if part["type"] == "refusal" else part["text"]}
