"""Bad requests: one shape for all errors, and the name of the field that is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from queuechat.protocol import Job
from tests.api.hand import Hand
from tests.api.site import Site

CHAT = "/v1/chat/completions"


def check(response: httpx.Response, status: int, code: str, param: str | None = None) -> str:
    """The error is in both shapes; answers its message."""
    body = response.json()
    assert response.status_code == status, response.text
    assert set(body) == {"error", "object", "message", "code"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)
    assert (body["object"], body["message"]) == ("error", body["error"]["message"])
    assert isinstance(body["code"], int)
    assert response.headers["x-request-id"]
    return str(body["message"])


def chat(**fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def _allowed(name: str) -> dict[str, Any]:
    wanted = [{"type": "function", "function": {"name": name}}]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": wanted}}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 3}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 9}, "n"),
    ({"n": "1"}, "n"),
    ({"n": True}, "n"),
    ({"n": 1.0}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": ["a", 5]}, "stop[1]"),
    ({"stop": "x" * 257}, "stop"),
    ({"seed": 10**30}, "seed"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"logit_bias": {"x": 1}}, "logit_bias.x"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1"),
    ({"logit_bias": {str(k): 1 for k in range(301)}}, "logit_bias"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
    ({"chat_template_kwargs": {"special_tokens": {}}}, "chat_template_kwargs.special_tokens"),
    ({"chat_template_kwargs": {"x": 1, "add_generation_prompt": True}}, "chat_template_kwargs.add_generation_prompt"),
    ({"model": 5}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, "messages[0]"),
    ({"messages": [{"role": "assistant", "tool_calls": [CALL | {"id": ""}]}]}, "messages[0].tool_calls[0].id"),
    ({"tools": [TOOL | {"function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tools": [TOOL], "functions": [{"name": "g"}]}, "functions"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"function_call": {"name": "f"}}, "function_call"),
    ({"tools": [TOOL], "tool_choice": "must"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": _allowed("g")}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
    ({"structured_outputs": {"regex": "a", "json_object": True}}, "structured_outputs.json_object"),
    ({"top_logprobs": 5}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"reasoning_effort": "much"}, "reasoning_effort"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=lambda value: str(value)[:40])
async def test_a_wrong_value_is_a_400_that_names_its_field(site: Site, fields: dict[str, Any], param: str) -> None:
    message = check(await site.post(CHAT, chat(**fields)), 400, "invalid_value", param)
    assert f"`{param}` must " in message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_would_change_the_meaning_is_refused_by_name(site: Site, fields: Any, param: str) -> None:
    message = check(await site.post(CHAT, chat(**fields)), 400, "unsupported_parameter", param)
    assert param in message


async def test_unsupported_fields_pass_with_values_that_mean_nothing(site: Site, hand: Hand) -> None:
    neutral: dict[str, Any] = {
        "tools": None, "tool_choice": "none", "functions": [], "response_format": {"type": "text"}, "logprobs": False,
        "top_logprobs": None, "n": None, "modalities": ["text"], "temperature": None, "stream_options": None,
    }  # fmt: skip
    asked = asyncio.create_task(site.post(CHAT, chat(model=hand.model, **neutral)))
    await hand.tell("ok")
    response = await asked
    assert response.status_code == 200
    assert "x-queuechat-ignored" not in response.headers


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": []}, "invalid_value", "prompt"),
        ({"prompt": ""}, "invalid_value", "prompt"),
        ({"prompt": ["a", 1]}, "invalid_value", "prompt[1]"),
        ({"prompt": [1, "a"]}, "invalid_value", "prompt[1]"),
        ({"prompt": [[1], []]}, "invalid_value", "prompt[1]"),
        ({"prompt": [-1]}, "invalid_value", "prompt[0]"),
        ({"prompt": [True]}, "invalid_value", "prompt[0]"),
        ({"prompt": ["a"] * 17, "n": 8}, "invalid_value", "prompt"),
        ({"prompt": "a", "suffix": "b", "echo": True}, "invalid_value", "echo"),
        ({"prompt": "a", "logprobs": 21}, "invalid_value", "logprobs"),
        ({"prompt": "a", "n": 3, "best_of": 2}, "invalid_value", "best_of"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "invalid_value", "best_of"),
        ({"prompt": "a", "max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"prompt": [1], "echo": True}, "unsupported_parameter", "echo"),
        ({}, "missing_required_parameter", "prompt"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_prompt_is_a_400_that_names_it(site: Site, fields: Any, code: str, param: str) -> None:
    check(await site.post("/v1/completions", {"model": "m", **fields}), 400, code, param)


@pytest.mark.parametrize("name", ["model", "messages"])
async def test_a_missing_field_is_named(site: Site, name: str) -> None:
    body = chat()
    del body[name]
    check(await site.post(CHAT, body), 400, "missing_required_parameter", name)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"nonsense", b'{"model": NaN}', b'{"temperature": Infinity}', b'{"a": 1e999}', b'{"a": "\\ud800"}',
        b'{"a": "\xff"}', b"[" * 5000, b'{"a": 1} tail',
    ],
    ids=lambda raw: repr(raw[:20]),
)  # fmt: skip
async def test_what_is_no_json_is_a_400(site: Site, raw: bytes) -> None:
    check(await site.http.post(CHAT, content=raw), 400, "invalid_json")


async def test_json_that_is_no_object_or_too_deep_is_a_400(site: Site) -> None:
    check(await site.http.post(CHAT, content=b"[1]"), 400, "invalid_value")
    deep = orjson.dumps(chat())[:-1] + b',"chat_template_kwargs":' + b'{"a":' * 32 + b"1" + b"}" * 33
    assert "32 levels" in check(await site.http.post(CHAT, content=deep), 400, "invalid_value")


async def test_a_body_over_the_limit_is_a_413_announced_or_not(site: Site) -> None:
    big = b" " * (2 << 20)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(big), 1 << 16):
            yield big[at : at + (1 << 16)]

    check(await site.http.post(CHAT, content=big), 413, "request_too_large")
    check(await site.http.post(CHAT, content=pieces()), 413, "request_too_large")


async def test_headers_without_end_are_a_431(site: Site) -> None:
    many = await site.http.get("/v1/models", headers={f"x-{k}": "v" * 1000 for k in range(70)})
    check(many, 431, "headers_too_large")


async def test_wrong_paths_and_methods_have_the_same_shape(site: Site) -> None:
    check(await site.http.get("/v1/nothing"), 404, "not_found")
    check(await site.http.get("/v1/models/"), 404, "model_not_found", "model")
    response = await site.http.get(CHAT)
    check(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


async def test_a_bug_is_a_500_that_tells_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(jobs: list[Job]) -> None:
        raise RuntimeError("password 123 in /etc/secret")

    monkeypatch.setattr(site.house.roster, "resolve", broken)
    assert "password" not in check(await site.post(CHAT, chat()), 500, "internal_error")


async def test_ignored_names_cannot_forge_headers(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(site.post(CHAT, chat(model=hand.model, **{"a\r\nx-evil: 1": 1, "b": 2, "ü": 3})))
    await hand.tell("ok")
    response = await asked
    assert "x-evil" not in response.headers
    assert response.headers["x-queuechat-ignored"] == "?,b,?"


@pytest.mark.parametrize(
    ("path", "asked"),
    [(CHAT, {"messages": [{"role": "user", "content": "x"}]}), ("/v1/completions", {"prompt": "x"})],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_field_that_means_nothing_here_is_named(
    site: Site, hand: Hand, path: str, asked: dict[str, Any], stream: bool
) -> None:
    body = {"model": hand.model, "stream": stream, "made_up": 1, **asked}
    posted = asyncio.create_task(site.http.post(path, json=body))
    await hand.tell("ok")
    assert (await posted).headers["x-queuechat-ignored"] == "made_up"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"jsn": {}}}, "structured_outputs.jsn"),
        ({"messages": [{"role": "assistant", "content": "x", "prefix": True}]}, "messages[0].prefix"),
    ],
)
async def test_what_would_change_the_answer_is_refused_wherever_it_is(
    site: Site, hand: Hand, fields: dict[str, Any], param: str
) -> None:
    check(await site.post(CHAT, chat(**{"model": hand.model, **fields})), 400, "unsupported_parameter", param)


async def test_options_of_a_stream_that_are_unknown_are_named(site: Site, hand: Hand) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    asked = asyncio.create_task(site.post(CHAT, chat(model=hand.model, stream=True, stream_options=options)))
    await hand.tell("a")
    assert (await asked).headers["x-queuechat-ignored"] == "stream_options.continuous_usage_stats"
