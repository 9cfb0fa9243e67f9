"""Anthropic's API: blocks in, blocks out, named events, its own errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.protocol import Failure, Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_tokens import an_echo
from tests.api.test_tools import cut
from workers.engines.echo import EchoEngine

MESSAGES = "/v1/messages"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": name, "description": name, "input_schema": SCHEMA} for name in ("weather", "time")]
PNG = "iVBORw0KGgo="
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'


@pytest.fixture
async def clever(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model, tool_format="hermes", reasoning="think", grammars=["json_schema"]) as opened:
        yield opened


def ask(hand: Hand, **fields: object) -> dict[str, Any]:
    return {"model": hand.model, "max_tokens": 50, "messages": HELLO, **fields}


async def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The data of each event, which must be named as its type says."""
    told, name = [], ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            told.append(json.loads(line[6:]))
            assert told[-1]["type"] == name
    return told


async def streamed(site: Site, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with site.http.stream("POST", MESSAGES, json=body | {"stream": True}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        return await events_of(response)


def check(response: httpx.Response, status: int, type: str, words: str = "") -> None:
    body = response.json()
    assert response.status_code == status, response.text
    assert set(body) == {"type", "error", "request_id"}
    assert (body["type"], body["error"]["type"]) == ("error", type)
    assert set(body["error"]) == {"type", "message"}
    assert words in body["error"]["message"]
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]


async def test_a_whole_message_has_text_reason_and_usage(site: Site, hand: Hand) -> None:
    body = ask(hand, system="Be brief.", temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["END"])
    asked = asyncio.create_task(site.post(MESSAGES, body))
    claim = await hand.tell("Hel", "lo", tail="!")
    response = await asked
    job = claim.job
    assert job.messages == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert (job.max_tokens, job.fit, job.stop, job.sampling.top_k) == (50, True, ["END"], 5)
    assert response.json() == {
        "id": f"msg_{job.id}",
        "type": "message",
        "role": "assistant",
        "model": hand.model,
        "content": [{"type": "text", "text": "Hello!"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "output_tokens": 2,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
        },
    }
    assert response.headers["request-id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("fields", "ending", "told"),
    [
        ({"stop_sequences": ["END"]}, {"stop": "END"}, ("stop_sequence", "END")),
        ({"max_tokens": 2}, {"reason": Reason.LENGTH}, ("max_tokens", None)),
        ({"max_tokens": 3}, {"reason": Reason.LENGTH}, ("model_context_window_exceeded", None)),
    ],
)
async def test_a_message_says_why_it_stopped(site: Site, hand: Hand, fields: Any, ending: Any, told: Any) -> None:
    for stream in (False, True):
        asked = asyncio.create_task(streamed(site, ask(hand, **fields)) if stream else _whole(site, hand, fields))
        await hand.tell("a", "b", **ending)
        answer: Any = await asked
        ended = answer[-2]["delta"] if stream else answer
        assert (ended["stop_reason"], ended["stop_sequence"]) == told


async def _whole(site: Site, hand: Hand, fields: dict[str, Any]) -> dict[str, Any]:
    return dict((await site.post(MESSAGES, ask(hand, **fields))).json())


async def test_a_stream_opens_and_closes_each_block_in_order(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(streamed(site, ask(clever, tools=TOOLS)))
    await clever.tell(*cut(f"<think>Where?</think>So:\n{CALL}", 7))
    told = [event for event in await asked if event["type"] != "ping"]
    assert told[0]["type"] == "message_start"
    assert (told[0]["message"]["content"], told[0]["message"]["stop_reason"]) == ([], None)
    blocks: list[dict[str, Any]] = []
    opened = False
    for event in told[1:-2]:
        if event["type"] == "content_block_start":
            assert not opened
            blocks.append({**event["content_block"], "said": ""})
        elif event["type"] == "content_block_delta":
            delta = dict(event["delta"])
            blocks[-1].setdefault("deltas", set()).add(delta.pop("type"))
            blocks[-1]["said"] += "".join(delta.values())
        assert event["index"] == len(blocks) - 1
        opened = event["type"] != "content_block_stop"
    assert not opened
    thought, text, call = blocks
    assert (thought["type"], thought["signature"], thought["said"]) == ("thinking", "", "Where?")
    assert (text["type"], text["said"].strip(), text["deltas"]) == ("text", "So:", {"text_delta"})
    assert (call["type"], call["name"], call["input"], call["deltas"]) == (
        *("tool_use", "weather", {}),
        {"input_json_delta"},
    )
    assert json.loads(call["said"]) == {"city": "Bern"}
    assert [event["type"] for event in told[-2:]] == ["message_delta", "message_stop"]
    assert told[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert told[-2]["usage"]["input_tokens"] == 7
    assert told[-2]["usage"]["output_tokens"] > 2


async def test_a_whole_message_has_thoughts_and_calls_as_blocks(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(site.post(MESSAGES, ask(clever, tools=TOOLS)))
    claim = await clever.tell(f"<think>Where?</think>{CALL}")
    body = (await asked).json()
    assert claim.job.tools[0]["function"] == {"name": "weather", "description": "weather", "parameters": SCHEMA}
    thought, call = body["content"]
    assert thought == {"type": "thinking", "thinking": "Where?", "signature": ""}
    assert (call["type"], call["name"], call["input"], body["stop_reason"]) == (
        *("tool_use", "weather", {"city": "Bern"}),
        "tool_use",
    )


async def test_a_call_that_was_cut_short_keeps_what_was_written_and_a_broken_one_stays_text(
    site: Site, clever: Hand
) -> None:
    asked = asyncio.create_task(site.post(MESSAGES, ask(clever, tools=TOOLS, max_tokens=1)))
    await clever.tell('<tool_call>{"name": "weather", "arguments": {"city": "Bern", "day', reason=Reason.LENGTH)
    body = (await asked).json()
    assert (body["content"][0]["input"], body["stop_reason"]) == ({"city": "Bern"}, "max_tokens")
    asked = asyncio.create_task(site.post(MESSAGES, ask(clever, tools=TOOLS)))
    await clever.tell('<tool_call>{"name": "weather", "arguments": {"city": Bern}}</tool_call>')
    body = (await asked).json()
    assert (body["content"][0]["type"], body["stop_reason"]) == ("text", "end_turn")
    assert '{"city": Bern}' in body["content"][0]["text"]


async def test_results_of_calls_become_messages_of_their_own(site: Site, clever: Hand) -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "there", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": ""},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "t2", "name": "time", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
                {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    asked = asyncio.create_task(site.post(MESSAGES, ask(clever, messages=turns, tools=TOOLS)))
    claim = await clever.tell("ok")
    response = await asked
    assert claim.job.messages == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [_call("t1", "weather", '{"city":"Bern"}'), _call("t2", "time", "{}")],
            "reasoning_content": "Hm",
        },
        {"role": "tool", "content": "rain", "tool_call_id": "t1"},
        {"role": "tool", "content": "", "tool_call_id": "t2"},
        {"role": "user", "content": "And?"},
    ]
    assert response.headers["x-queuechat-ignored"] == "tool_result.is_error"


def _call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("choice", "offered", "held"),
    [
        ({"type": "auto"}, 2, False),
        ({"type": "none"}, 0, False),
        ({"type": "any", "disable_parallel_tool_use": True}, 2, True),
        ({"type": "tool", "name": "time"}, 1, True),
    ],
)
async def test_the_choice_of_tools_is_kept(site: Site, clever: Hand, choice: Any, offered: int, held: bool) -> None:
    asked = asyncio.create_task(site.post(MESSAGES, ask(clever, tools=TOOLS, tool_choice=choice)))
    claim = await clever.tell('[{"name": "time", "arguments": {"city": "Rome"}}]' if held else "no")
    body = (await asked).json()
    assert (len(claim.job.tools), claim.job.grammar is not None) == (offered, held)
    assert body["stop_reason"] == ("tool_use" if held else "end_turn")
    if choice.get("disable_parallel_tool_use"):
        assert claim.job.grammar is not None
        assert json.loads(claim.job.grammar.text)["maxItems"] == 1


@pytest.mark.parametrize(
    ("fields", "args"),
    [
        ({}, {}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False, "reasoning_effort": "none"}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"enable_thinking": True, "reasoning_effort": "medium"},
        ),
        ({"output_config": {"effort": "high"}}, {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
async def test_thinking_is_told_to_the_template(site: Site, clever: Hand, fields: Any, args: Any) -> None:
    asked = asyncio.create_task(site.post(MESSAGES, ask(clever, **fields)))
    assert (await clever.tell("ok")).job.template_args == args
    assert (await asked).headers.get("x-queuechat-ignored") == (
        "thinking.budget_tokens" if "budget_tokens" in str(fields) else None
    )


async def test_a_form_of_the_output_is_a_grammar(site: Site, clever: Hand) -> None:
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    asked = asyncio.create_task(site.post(MESSAGES, ask(clever, output_config=form)))
    claim = await clever.tell("{}")
    await asked
    assert claim.job.grammar is not None
    assert json.loads(claim.job.grammar.text) == SCHEMA


async def test_what_means_nothing_here_is_named(site: Site, hand: Hand) -> None:
    fields = {"metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"}, "new": 1}
    asked = asyncio.create_task(site.post(MESSAGES, ask(hand, **fields)))
    await hand.tell("ok")
    response = await asked
    assert response.status_code == 200
    assert set(response.headers["x-queuechat-ignored"].split(",")) == {"cache_control", "new"}


async def test_pings_keep_a_waiting_stream_alive_after_its_start(redis_url: str, hand: Hand) -> None:
    async with (
        a_site(redis_url, hold_s=0, drain_s=0) as site,
        site.http.stream("POST", MESSAGES, json=ask(hand, stream=True)) as response,
    ):
        lines = response.aiter_lines()
        first = [await anext(lines) for _ in range(5)]
        assert (first[0], first[3], first[4]) == ("event: message_start", "event: ping", 'data: {"type":"ping"}')
        await hand.tell("ok")
        assert 'data: {"type":"message_stop"}' in [line async for line in lines]


async def test_an_error_after_the_start_is_an_event(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(streamed(site, ask(hand)))
    claim = await hand.one()
    await hand.say(claim, "Hel")
    await hand.end(claim, Reason.DEAD, error=Failure("job_failed", "it killed its workers"))
    *_, last = await asked
    assert last["error"] == {"type": "api_error", "message": "it killed its workers"}
    assert (last["type"], last["request_id"]) == ("error", claim.job.id)


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_worker_refuses_has_its_status(site: Site, hand: Hand, stream: bool) -> None:
    asked = asyncio.create_task(site.post(MESSAGES, ask(hand, stream=stream)))
    failure = Failure("context_length_exceeded", "maximum context length is 9 tokens", "messages")
    await hand.end(await hand.one(), Reason.ERROR, error=failure)
    check(await asked, 400, "invalid_request_error", "maximum context length")


def _said(*blocks: object, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": None}, "`max_tokens` must be an integer"),
        ({"max_tokens": 0}, "`max_tokens`"),
        ({"messages": []}, "`messages`"),
        ({"messages": "hi"}, "`messages`"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "I"}]}, "`messages[1].role` must be user"),
        (_said({"type": "video"}), "`messages[0].content[0]` must be of type 'text'"),
        (_said({"text": "x"}), "`messages[0].content[0]` must be an object with a 'type'"),
        (_said({"type": "text"}), "`messages[0].content[0].text` is missing"),
        (_said({"type": "tool_use", "id": "1", "name": "f", "input": {}}), "no block of type tool_use"),
        (_said({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}), "image"),
        (_said({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}), "image"),
        (_said({"type": "image", "source": {"type": "file", "file_id": "f"}}), "`messages[0].content[0].source`"),
        ({"system": [{"type": "image"}]}, "`system[0].type`"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "`tools[0].type`"),
        ({"tools": [{"name": "f"}]}, "`tools[0].input_schema` is missing"),
        ({"tools": [*TOOLS, *TOOLS]}, "names that differ"),
        ({"tool_choice": {"type": "tool"}}, "`tool_choice` must have the `name`"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "x"}}, "`tool_choice` must name tools"),
        ({"tools": TOOLS}, "calls no tools"),
        ({"thinking": {"type": "much"}}, "`thinking.type`"),
        ({"mcp_servers": [{"url": "x"}]}, "`mcp_servers` is not supported"),
        ({"stop_sequences": [""]}, "`stop_sequences[0]`"),
        ({"temperature": "hot"}, "`temperature`"),
    ],
)
async def test_a_body_that_cannot_be_served_is_told_why(site: Site, hand: Hand, fields: Any, words: str) -> None:
    check(await site.post(MESSAGES, ask(hand, **fields)), 400, "invalid_request_error", words)


async def test_hostile_bodies_are_refused_in_the_same_shape(site: Site) -> None:
    for raw in (b"", b"[]", b"nope", b"\xff", b'{"a":' * 50 + b"1" + b"}" * 50, b'{"max_tokens":NaN}'):
        check(await site.http.post(MESSAGES, content=raw), 400, "invalid_request_error")
    check(await site.http.post(MESSAGES, content=b"x" * (1 << 20) + b"x"), 413, "request_too_large")


async def test_what_is_not_there_and_who_may_not_are_told_in_the_same_shape(redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, api_keys="alpha", drain_s=0) as site:
        check(await site.post(MESSAGES, ask(hand)), 401, "authentication_error")
        key = {"x-api-key": "alpha"}
        gone = await site.http.post(MESSAGES, json=ask(hand, model="nobody"), headers=key)
        check(gone, 404, "not_found_error", "'nobody' does not exist")
        check(await site.http.get(f"{MESSAGES}/batches", headers=key), 404, "not_found_error")
        check(await site.http.get(MESSAGES, headers=key), 405, "invalid_request_error")
        other = await site.http.get("/v1/messages_of_others", headers=key)
        assert other.json()["object"] == "error"
        assert "request-id" not in other.headers


async def test_a_full_queue_and_a_server_without_workers_say_when_to_come_back(
    redis_url: str, bus: Bus, model: str
) -> None:
    async with a_site(redis_url, queue_limit=1, drain_s=0) as site:
        async with Hand(bus, model) as hand:
            first = asyncio.create_task(site.post(MESSAGES, ask(hand)))
            while not await bus.connection.command("XLEN", keys.jobs(model)):
                await asyncio.sleep(0.01)
            full = await site.post(MESSAGES, ask(hand))
            check(full, 429, "rate_limit_error")
            assert int(full.headers["retry-after"]) >= 1
            await hand.tell("ok")
            assert (await first).status_code == 200
        while (await site.house.roster.refresh()).models[model].live:
            await asyncio.sleep(0.01)
        nobody = await site.post(MESSAGES, ask(hand))
        check(nobody, 529, "overloaded_error", "no worker")
        assert int(nobody.headers["retry-after"]) >= 1


async def test_a_message_can_be_looked_up_by_its_id(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(site.post(MESSAGES, ask(hand)))
    await hand.tell("ok")
    id = (await asked).json()["id"]
    assert (await site.http.get(f"/v1/requests/{id}")).json()["state"] == "stop"


async def test_the_tokens_of_a_message_are_counted_as_the_template_writes_it(site: Site, bus: Bus, model: str) -> None:
    async with an_echo(bus, model, EchoEngine()) as echo:
        body = {"model": echo.model, "messages": HELLO, "system": "Be brief.", "new": 1}
        response = await site.post(f"{MESSAGES}/count_tokens", body)
        assert response.json() == {"input_tokens": len("system: Be brief.\nuser: hello\nassistant:")}
        assert response.headers["x-queuechat-ignored"] == "new"
        check(await site.post(f"{MESSAGES}/count_tokens", {"model": model}), 400, "invalid_request_error", "`messages`")


async def test_models_are_listed_for_its_clients_too(site: Site, hand: Hand) -> None:
    await site.house.roster.refresh()
    page = (await site.http.get("/v1/models")).json()
    assert (page["has_more"], page["first_id"], page["last_id"]) == (
        *(False, page["data"][0]["id"]),
        page["data"][-1]["id"],
    )
    row = next(row for row in page["data"] if row["id"] == hand.model)
    assert (row["type"], row["display_name"], row["created_at"][-1]) == ("model", hand.model, "Z")
