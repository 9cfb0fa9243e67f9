"""Providers that speak OpenAI's chat completions and completions, by OpenAI's SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import openai

from queuechat.dialects.speech import ContentDelta, Part, ReasoningDelta, RefusalDelta, ToolArguments, ToolStart
from queuechat.elsewhere import ContentFiltered
from queuechat.errors import UnsupportedParameter
from queuechat.protocol import Grammar, GrammarKind, Job
from workers.endpoints import Endpoint
from workers.engines.base import Usage
from workers.engines.remote_provider import (
    Closing,
    Ending,
    data_url,
    given,
    loaded,
    refuse,
    seed_of,
    unseen,
    until_broken,
    usage_of,
)

_EXTRAS = ("top_k", "min_p", "repetition_penalty")
_JSON: frozenset[GrammarKind] = frozenset({"json_schema", "json_object"})
_ALL: frozenset[GrammarKind] = _JSON | {"regex", "choice", "lark"}
_CONNECT_S = 10.0
_OURS = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "OPENAI_ADMIN_KEY")


class OpenAIProvider:
    """`takes` of the endpoint is what it knows beyond OpenAI's own parameters, as vLLM and queuechat do."""

    def __init__(self, endpoint: Endpoint, key: str):
        self._endpoint = endpoint
        self._takes = frozenset(endpoint.takes)
        self.grammars = _ALL if "structured_outputs" in self._takes else _JSON
        timeout = openai.Timeout(endpoint.timeout_s, connect=_CONNECT_S)
        # Whoever answers with an address of somebody else must not get a prompt, or the key, sent there.
        http = openai.DefaultAsyncHttpxClient(timeout=timeout, follow_redirects=False)
        with unseen(*(() if endpoint.at_home else _OURS)):
            self._client = openai.AsyncOpenAI(
                base_url=endpoint.base, api_key=key, max_retries=0, timeout=timeout, http_client=http
            )

    def request(self, job: Job, delivered: str, limit: int | None) -> dict[str, Any]:
        body = {
            **self._endpoint.recommended_config.extra_body,
            **self._sampling(job),
            **self._asked_for(job),
            "model": self._endpoint.model_name,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if job.stop:
            body["stop"] = job.stop
        chats = job.messages is not None
        if limit is not None:
            body["max_completion_tokens" if chats and self._endpoint.at_home else "max_tokens"] = limit
        return body | (self._chat(job, delivered) if chats else self._prompt(job, delivered))

    def _sampling(self, job: Job) -> dict[str, Any]:
        asked = given(job)
        refuse([name for name in _EXTRAS if name not in self._takes], asked)
        if "seed" in asked:
            asked["seed"] = seed_of(job.sampling)
        if "logit_bias" in asked:
            asked["logit_bias"] = {str(id): bias for id, bias in job.sampling.logit_bias.items()}
        return self._endpoint.recommended_config.sampling | asked

    def _asked_for(self, job: Job) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if job.ignore_eos:
            refuse([] if "ignore_eos" in self._takes else ["ignore_eos"], {"ignore_eos"})
            body["ignore_eos"] = True
        template = dict(job.template_args)
        if (effort := template.pop("reasoning_effort", None)) is not None:
            template.pop("enable_thinking", None)  # which is only said for templates
            body["reasoning_effort"] = effort
        if template:
            refuse([] if "chat_template_kwargs" in self._takes else ["chat_template_kwargs"], {"chat_template_kwargs"})
            body["chat_template_kwargs"] = template
        return body

    def _chat(self, job: Job, delivered: str) -> dict[str, Any]:
        images = iter(job.images)
        messages = [self._turn(message, images) for message in job.messages or []]
        body: dict[str, Any] = {"messages": messages}
        if delivered:
            messages.append({"role": "assistant", "content": delivered})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if job.tools:
            body["tools"] = job.tools
            body |= {"tool_choice": "required"} if job.must_call else {}
            body |= {"parallel_tool_calls": False} if job.most_calls == 1 else {}
        return body | (_format(job.grammar) if job.grammar else {})

    def _turn(self, message: dict[str, Any], images: Iterator[str]) -> dict[str, Any]:
        """A message as OpenAI has it. Thoughts are passed on to those only who take them."""
        turn = {name: value for name, value in message.items() if name != "reasoning_content"}
        if "reasoning_content" in message and "reasoning_content" in self._takes:
            turn["reasoning_content"] = message["reasoning_content"]
        if isinstance(turn.get("content"), list):
            turn["content"] = [_image(next(images)) if part["type"] == "image" else part for part in turn["content"]]
        return turn

    def _prompt(self, job: Job, delivered: str) -> dict[str, Any]:
        if job.grammar is not None:
            raise UnsupportedParameter(
                "a completion of this model cannot be held to a form: ask for a chat", param="response_format"
            )
        if not job.add_special:
            raise UnsupportedParameter(
                "the provider of this model takes no `add_special_tokens`: leave it out", param="add_special_tokens"
            )
        return {"prompt": job.prompt + delivered if isinstance(job.prompt, str) else job.prompt}

    async def stream(self, request: dict[str, Any]) -> AsyncGenerator[Part | Closing, None]:
        rest = dict(request)
        named = {"model": rest.pop("model"), "stream": rest.pop("stream")}
        if "messages" in rest:
            chats = self._client.chat.completions
            stream: Any = await chats.create(messages=rest.pop("messages"), extra_body=rest, **named)
        else:
            texts = self._client.completions
            stream = await texts.create(prompt=rest.pop("prompt"), extra_body=rest, **named)
        async with stream:
            async for told in _read(stream):
                yield told

    async def close(self) -> None:
        await self._client.close()


def _image(image: str) -> dict[str, Any]:
    kind, data = data_url(image)
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def _format(grammar: Grammar) -> dict[str, Any]:
    """Strict, since else a provider would only try to keep to a schema."""
    if grammar.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if grammar.kind == "json_schema":
        schema = {"name": "answer", "schema": loaded(grammar), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if grammar.kind == "choice":
        return {"structured_outputs": {"choice": loaded(grammar)}}
    return {"structured_outputs": {"grammar" if grammar.kind == "lark" else grammar.kind: grammar.text}}


async def _read(stream: Any) -> AsyncGenerator[Part | Closing, None]:
    """Parts and the end of a stream. What is not of OpenAI's own is looked for by name: vLLM's `stop_reason`, and
    thoughts."""
    usage: Usage | None = None
    ending = Ending()
    calls = _Calls()
    async for chunk in until_broken(stream, ending):
        if told := chunk.usage:
            read, written = getattr(told, "prompt_tokens", None), getattr(told, "completion_tokens", None)
            usage = usage_of(read, written) or usage
        for choice in (chunk.choices or [])[:1]:
            for part in _parts(choice, calls):
                yield part
            if choice.finish_reason:
                met = getattr(choice, "stop_reason", None)
                ending.reason, ending.stop = choice.finish_reason, met if isinstance(met, str) else ""
    if ending.reason == "content_filter":
        raise ContentFiltered("the provider of this model has withheld the rest of this answer")
    if ending.reason:
        yield Closing("length" if ending.reason == "length" else "stop", usage, ending.stop)


def _parts(choice: Any, calls: _Calls) -> Iterator[Part]:
    if not hasattr(choice, "delta"):
        if choice.text:
            yield ContentDelta(choice.text)
        return
    delta = choice.delta
    if thought := getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None):
        yield ReasoningDelta(thought)
    if content := _content(delta.content):
        yield ContentDelta(content)
    if getattr(delta, "refusal", None):
        yield RefusalDelta(delta.refusal)
    for called in delta.tool_calls or []:
        yield from calls.parts(called)


def _content(content: str | list[Any] | None) -> str:
    """Its text, which some servers tell in parts."""
    if not isinstance(content, list):
        return content or ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


class _Calls:
    """Calls of one answer. Some servers say index 0 of all, and tell them apart by their ids."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[int, str]] = {}  # their index to ours, and the id
        self._count = 0

    def parts(self, called: Any) -> Iterator[Part]:
        function = called.function
        ours, id = self._begun.get(called.index, (-1, ""))
        if ours < 0 or (called.id and id and called.id != id):
            ours, self._count = self._count, self._count + 1
            self._begun[called.index] = (ours, called.id or "")
            yield ToolStart(ours, called.id or "", (function.name if function else "") or "")
        if function and function.arguments:
            yield ToolArguments(ours, function.arguments)
