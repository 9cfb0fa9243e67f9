"""Fields that would change the meaning of a request and are not supported: refused by name, never dropped.

Each is told with the values that mean nothing (null, empty, the default), which pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from queuechat.errors import InvalidRequest, UnsupportedParameter

Neutral = Callable[[Any], bool]

#: Accepted and without effect here: they ask for no other answer.
HINTS = frozenset({
    "metadata", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "verbosity", "include_reasoning", "request_id",
})  # fmt: skip


def _one_of(*values: Any) -> Neutral:
    # `True == 1` in Python, not in JSON.
    return lambda given: any(type(given) is type(value) and given == value for value in (None, *values))


_EMPTY = _one_of([], {}, "", False)
_ENGINE_EXTRAS: dict[str, Neutral] = {
    "use_beam_search": _EMPTY,
    "length_penalty": _one_of(1, 1.0),
    "min_tokens": _one_of(0),
    "stop_token_ids": _EMPTY,
    "bad_words": _EMPTY,
    "allowed_token_ids": _EMPTY,
    "prompt_logprobs": _one_of(0),
    "truncate_prompt_tokens": _EMPTY,
}

_GUIDES: dict[str, Neutral] = {
    "guided_json": _EMPTY,
    "guided_regex": _EMPTY,
    "guided_choice": _EMPTY,
    "guided_grammar": _EMPTY,
    "structured_outputs": _EMPTY,
}

CHAT: Mapping[str, Neutral] = {
    "modalities": _one_of([], ["text"]),
    "audio": _EMPTY,
    "prediction": _EMPTY,
    "web_search_options": _one_of(),
    "best_of": _one_of(1),
    "chat_template": _EMPTY,
    "continue_final_message": _EMPTY,
    "add_generation_prompt": _one_of(True),
    "documents": _EMPTY,
    "echo": _EMPTY,
    **_ENGINE_EXTRAS,
}

#: Of what is only read: what is asked of an answer means nothing, and says nothing of the prompt.
TOKENIZE: Mapping[str, Neutral] = {
    name: CHAT[name] for name in ("chat_template", "continue_final_message", "documents", "truncate_prompt_tokens")
}

COMPLETIONS: Mapping[str, Neutral] = {
    "response_format": _one_of({"type": "text"}),
    **_GUIDES,
    **_ENGINE_EXTRAS,
}

ANTHROPIC: Mapping[str, Neutral] = {
    "mcp_servers": _EMPTY,
    "container": _EMPTY,
}

OLLAMA_GENERATE: Mapping[str, Neutral] = {
    "template": _EMPTY,
    "width": _one_of(0),
    "height": _one_of(0),
    "steps": _one_of(0),
}

RESPONSES: Mapping[str, Neutral] = {
    "n": _one_of(1),
    "messages": _one_of(),
    "max_tokens": _one_of(),
    "max_completion_tokens": _one_of(),
    "logprobs": _one_of(False),
    "response_format": _one_of({"type": "text"}),
    "functions": _EMPTY,
    "conversation": _EMPTY,
    "prompt": _EMPTY,
    "context_management": _EMPTY,
    "moderation": _EMPTY,
    **_GUIDES,
    **_ENGINE_EXTRAS,
}

EMBEDDINGS: Mapping[str, Neutral] = {}

#: What a template gets from us; the same names as in workers/text/template.py.
_RESERVED = frozenset({"messages", "tools", "special_tokens", "add_generation_prompt"})


def refuse_fields(body: Mapping[str, Any], refused: Mapping[str, Neutral]) -> None:
    """Raises UnsupportedParameter for the first such field that is not neutral."""
    for name in body.keys() & refused.keys():
        if not refused[name](body[name]):
            raise UnsupportedParameter(f"`{name}` is not supported yet; leave it out", param=name)


def refuse_unsupported(body: Mapping[str, Any], refused: Mapping[str, Neutral]) -> None:
    """Raises UnsupportedParameter for the first such field that is not neutral, then for tools and parts of messages
    of OpenAI's that are unknown here."""
    refuse_fields(body, refused)
    tools = body.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else []):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind != "function":
            where = f"tools[{index}].type"
            raise UnsupportedParameter(f"`{where}` is {kind[:40]!r}; there are only functions here", param=where)
    messages = body.get("messages")
    if isinstance(messages, list):
        for index, message in enumerate(messages):
            if isinstance(message, dict):
                _refuse_in_message(message, f"messages[{index}]")


def refuse_reserved(template_kwargs: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for the first template argument that is not the user's to set."""
    if taken := _RESERVED & template_kwargs.keys():
        where = f"chat_template_kwargs.{min(taken)}"
        raise InvalidRequest(f"`{where}` must be left out: the server sets it", param=where)


def _refuse_in_message(message: dict[str, Any], path: str) -> None:
    if message.get("audio"):
        raise UnsupportedParameter(f"`{path}.audio` is not supported yet", param=f"{path}.audio")
    if message.get("prefix"):
        where = f"{path}.prefix"
        raise UnsupportedParameter(f"`{where}` is not supported: an answer cannot be begun here", param=where)
    content = message.get("content")
    for index, part in enumerate(content if isinstance(content, list) else []):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind not in ("text", "image_url"):
            where = f"{path}.content[{index}]"
            raise UnsupportedParameter(
                f"`{where}` is a part of type {kind[:40]!r}; only text and image_url parts are supported yet",
                param=where,
            )
