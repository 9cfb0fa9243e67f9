"""The order that a body places: it is told as a chat of OpenAI's, which knows what the model can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import orjson

from queuechat.dialects import chat
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.schemas import ChatRequest
from queuechat.dialects.schemas.anthropic import (
    ImageBlock,
    MessagesRequest,
    PromptRequest,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from queuechat.dialects.schemas.parse import checked

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_DEFAULT_EFFORT = "medium"  # of who wants thoughts and does not say how many


def order_of(body: PromptRequest, asked: ChatRequest, slip: Slip, idem: tuple[str, str] | None = None) -> Order:
    """`asked` is the body as a chat. An answer that the context has no room for ends there, as Anthropic's do.

    Raises:
        InvalidRequest, UnsupportedParameter: the model cannot do it.
    """
    order = chat.order_of(asked, slip, idem)
    jobs = [replace(job, fit=True) for job in order.jobs]
    return replace(order, jobs=jobs, ignored=[*body.ignored, *order.ignored])


def as_chat(body: PromptRequest) -> ChatRequest:
    """The same as a chat completion.

    Raises:
        InvalidRequest, UnsupportedParameter: it makes no sense as one.
    """
    return checked(_read(body) | (_drawn(body) if isinstance(body, MessagesRequest) else {}), ChatRequest)


def _drawn(body: MessagesRequest) -> dict[str, Any]:
    return {
        "max_tokens": body.max_tokens,
        "stop": body.stop_sequences,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
    }


def _read(body: PromptRequest) -> dict[str, Any]:
    """What is read before the answer."""
    asked: dict[str, Any] = {"model": body.model, "messages": [*_system(body), *_messages(body)]}
    asked["reasoning_effort"] = _effort(body)
    if body.tools:
        asked["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema,
                    "strict": tool.strict,
                },
            }
            for tool in body.tools
        ]
    if body.tool_choice:
        asked["tool_choice"] = _choice(body.tool_choice)
        asked["parallel_tool_calls"] = not body.tool_choice.disable_parallel_tool_use
    if body.output_config and body.output_config.format:
        schema = {"name": "output", "schema": body.output_config.format.schema_}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    return asked


def _effort(body: PromptRequest) -> str | None:
    told = body.output_config.effort if body.output_config else None
    if body.thinking and body.thinking.type == "disabled":
        return "none"
    return told or (_DEFAULT_EFFORT if body.thinking and body.thinking.type == "enabled" else None)


def _choice(choice: ToolChoice) -> Any:
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return _CHOICES[choice.type]


def _system(body: PromptRequest) -> list[dict[str, Any]]:
    if not body.system:
        return []
    if isinstance(body.system, str):
        return [{"role": "system", "content": body.system}]
    return [{"role": "system", "content": _content(body.system)}]


def _messages(body: PromptRequest) -> Iterator[dict[str, Any]]:
    for role, turns in groupby(body.messages, key=lambda turn: turn.role):
        blocks = [block for turn in turns for block in turn.blocks]
        if role == "assistant":
            yield _said(blocks)
        else:
            yield from _heard(role, blocks)


def _said(blocks: Sequence[Any]) -> dict[str, Any]:
    """A turn of the assistant: which of text and calls came first is lost."""
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": _json(block.input)}}
        for block in blocks
        if isinstance(block, ToolUseBlock)
    ]
    text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    thoughts = "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock))
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    return message | ({"tool_calls": calls} if calls else {}) | ({"reasoning_content": thoughts} if thoughts else {})


def _heard(role: str, blocks: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """A turn of the user: the result of a call is a message of its own, and has no images; those follow it."""
    shown: list[TextBlock | ImageBlock] = []
    for block in blocks:
        if not isinstance(block, ToolResultBlock):
            shown.append(block)
            continue
        if any(isinstance(one, TextBlock) for one in shown):
            yield {"role": role, "content": _content(shown)}
            shown = []
        yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": _content(block.texts)}
        shown += block.images
    if shown or not blocks:
        yield {"role": role, "content": _content(shown)}


def _content(blocks: Sequence[TextBlock | ImageBlock]) -> str | list[dict[str, Any]]:
    """One text is a string, which more templates take."""
    if not blocks:
        return ""
    if len(blocks) == 1 and isinstance(blocks[0], TextBlock):
        return blocks[0].text
    return [_part(block) for block in blocks]


def _part(block: TextBlock | ImageBlock) -> dict[str, Any]:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    return {"type": "image_url", "image_url": {"url": block.source.address}}


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
