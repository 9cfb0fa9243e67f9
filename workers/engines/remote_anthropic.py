"""Providers that speak Anthropic's Messages, by Anthropic's SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import groupby
from typing import Any

import anthropic

from queuechat.dialects.calling import object_of
from queuechat.dialects.speech import ContentDelta, Part, ReasoningDelta, ToolArguments, ToolStart
from queuechat.elsewhere import ContentFiltered
from queuechat.errors import InvalidRequest
from queuechat.protocol import GrammarKind, Job
from workers.endpoints import Endpoint
from workers.engines.remote_provider import (
    Closing,
    Ending,
    data_url,
    given,
    loaded,
    refuse,
    unseen,
    until_broken,
    usage_of,
)

DEFAULT_TOKENS = 4096  #: of an answer: Anthropic wants a limit, and a request may have none
_UNKNOWN = ("seed", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias")
_SYSTEM = ("system", "developer")
_LENGTH = ("max_tokens", "model_context_window_exceeded")
_CONNECT_S = 10.0
_OURS = ("ANTHROPIC_CUSTOM_HEADERS",)
_NO_IMAGES: Iterator[str] = iter(())


class AnthropicProvider:
    """`takes` of the endpoint may have `output_config`, for those of its models that keep to a schema and an effort."""

    def __init__(self, endpoint: Endpoint, key: str):
        self._endpoint = endpoint
        self._configured = "output_config" in endpoint.takes
        self.grammars: frozenset[GrammarKind] = frozenset({"json_schema"} if self._configured else ())
        timeout = anthropic.Timeout(endpoint.timeout_s, connect=_CONNECT_S)
        # Whoever answers with an address of somebody else must not get a prompt, or the key, sent there.
        http = anthropic.DefaultAsyncHttpxClient(timeout=timeout, follow_redirects=False)
        with unseen(*(() if endpoint.at_home else _OURS)):
            self._client = anthropic.AsyncAnthropic(
                base_url=endpoint.base, api_key=key, max_retries=0, timeout=timeout, http_client=http
            )

    def request(self, job: Job, delivered: str, limit: int | None) -> dict[str, Any]:
        if job.messages is None:
            raise InvalidRequest(
                "the provider of this model answers chats only: use /v1/chat/completions", param="prompt"
            )
        if job.ignore_eos:
            refuse(["ignore_eos"], {"ignore_eos"})
        system, turns = _split(job.messages)
        messages = list(_messages(turns, iter(job.images)))
        if delivered:
            messages.append({"role": "assistant", "content": delivered})
        body = {
            **self._endpoint.recommended_config.extra_body,
            **self._sampling(job),
            **self._output(job),
            **_tools(job),
            "model": self._endpoint.model_name,
            "messages": messages,
            "max_tokens": limit or DEFAULT_TOKENS,
            "stream": True,
        }
        body |= {"system": system} if system else {}
        return body | ({"stop_sequences": job.stop} if job.stop else {})

    def _sampling(self, job: Job) -> dict[str, Any]:
        asked = given(job)
        refuse(_UNKNOWN, asked)
        return self._endpoint.recommended_config.sampling | asked

    def _output(self, job: Job) -> dict[str, Any]:
        template = dict(job.template_args)
        effort = template.pop("reasoning_effort", None)
        if effort is not None:
            template.pop("enable_thinking", None)
        refuse(["chat_template_kwargs"], {"chat_template_kwargs"} if template else set())
        config: dict[str, Any] = {}
        if effort not in (None, "none", "minimal"):
            refuse([] if self._configured else ["reasoning_effort"], {"reasoning_effort"})
            config["effort"] = effort
        if job.grammar is not None:
            config["format"] = {"type": "json_schema", "schema": loaded(job.grammar)}
        return {"output_config": config} if config else {}

    async def stream(self, request: dict[str, Any]) -> AsyncGenerator[Part | Closing, None]:
        rest = dict(request)
        named = {name: rest.pop(name) for name in ("model", "messages", "max_tokens", "stream")}
        stream: Any = await self._client.messages.create(extra_body=rest, **named)
        async with stream:
            async for told in _read(stream):
                yield told

    async def close(self) -> None:
        await self._client.close()


def _split(messages: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], Sequence[dict[str, Any]]]:
    """What the system says, as blocks, and the turns."""
    first = next((k for k, message in enumerate(messages) if message["role"] not in _SYSTEM), len(messages))
    if any(message["role"] in _SYSTEM for message in messages[first:]):
        raise InvalidRequest("messages of the system must come first for the provider of this model", param="messages")
    return [block for message in messages[:first] for block in _blocks(message["content"])], messages[first:]


def _messages(turns: Sequence[dict[str, Any]], images: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Results of calls are the user's here, and neighbours of one role are one turn."""
    for role, run in groupby(turns, key=lambda turn: "assistant" if turn["role"] == "assistant" else "user"):
        yield {"role": role, "content": [block for turn in run for block in _turn(turn, images)]}


def _turn(turn: dict[str, Any], images: Iterator[str]) -> Iterator[dict[str, Any]]:
    if turn["role"] == "tool":
        yield {"type": "tool_result", "tool_use_id": turn["tool_call_id"], "content": _blocks(turn["content"])}
        return
    yield from _blocks(turn.get("content"), images)
    for call in turn.get("tool_calls") or []:
        called = call["function"]
        arguments = object_of(called["arguments"]) or {}
        yield {"type": "tool_use", "id": call["id"], "name": called["name"], "input": arguments}


def _blocks(content: Any, images: Iterator[str] = _NO_IMAGES) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        return [{"type": "text", "text": content}] if content else []
    return [_image(next(images)) if part["type"] == "image" else part for part in content]


def _image(image: str) -> dict[str, Any]:
    kind, data = data_url(image)
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _tools(job: Job) -> dict[str, Any]:
    if not job.tools:
        return {}
    tools = []
    for tool in job.tools:
        function = tool["function"]
        strict = {"strict": True} if function.get("strict") else {}
        told = {"name": function["name"], "description": function["description"]}
        tools.append(told | {"input_schema": function["parameters"]} | strict)
    one = {"disable_parallel_tool_use": True} if job.most_calls == 1 else {}
    return {"tools": tools, "tool_choice": {"type": "any" if job.must_call else "auto"} | one}


async def _read(stream: Any) -> AsyncGenerator[Part | Closing, None]:
    read: int | None = None
    written: object = None
    ending, block, calls = Ending(), "", -1
    async for event in until_broken(stream, ending):
        if event.type == "message_start":
            read = _read_tokens(getattr(event.message, "usage", None))
        elif event.type == "content_block_start":
            block = event.content_block.type
            if block == "tool_use":
                calls += 1
                yield ToolStart(calls, event.content_block.id, event.content_block.name)
        elif event.type == "content_block_delta":
            part = _part(event.delta, block, calls)
            if part:
                yield part
        elif event.type == "message_delta":
            ending.reason, ending.stop = event.delta.stop_reason or "", event.delta.stop_sequence or ""
            usage = getattr(event, "usage", None)
            read, written = _read_tokens(usage) or read, getattr(usage, "output_tokens", None)
    if ending.reason == "refusal":
        raise ContentFiltered("the provider of this model has withheld the rest of this answer")
    if ending.reason:
        yield Closing("length" if ending.reason in _LENGTH else "stop", usage_of(read, written), ending.stop)


def _part(delta: Any, block: str, call: int) -> Part | None:
    """What the provider calls for itself is not told: nobody here can answer it."""
    if delta.type == "text_delta":
        return ContentDelta(delta.text)
    if delta.type == "thinking_delta":
        return ReasoningDelta(delta.thinking)
    ours = delta.type == "input_json_delta" and block == "tool_use"
    return ToolArguments(call, delta.partial_json) if ours else None


def _read_tokens(usage: Any) -> int | None:
    """What was read from a cache was read as well; None where it is not told."""
    read = getattr(usage, "input_tokens", None)
    if not isinstance(read, int):
        return None
    cached = (getattr(usage, "cache_read_input_tokens", None), getattr(usage, "cache_creation_input_tokens", None))
    return read + sum(count or 0 for count in cached)
