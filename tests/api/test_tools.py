"""Tools, thoughts, formats and log probabilities in a chat, through the official SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from queuechat.bus import Bus
from queuechat.protocol import Grammar, Logprob, Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_chat import frames
from tests.api.test_refusals import check

CHAT = "/v1/chat/completions"
HELLO: Any = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": SCHEMA}}
    for name in ("weather", "time")
]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
AGAIN = '\n<tool_call>\n{"name": "time", "arguments": {"city": "Rome"}}\n</tool_call>'


@pytest.fixture
async def clever(bus: Bus, model: str) -> AsyncIterator[Hand]:
    """A worker whose model calls tools, thinks, and can be held to grammars."""
    grammars = ["json_schema", "json_object", "regex", "choice", "lark"]
    async with Hand(bus, model, tool_format="hermes", reasoning="think", grammars=grammars, logprobs=True) as opened:
        yield opened


def ask(hand: Hand, **fields: object) -> dict[str, Any]:
    return {"model": hand.model, "messages": HELLO, "tools": TOOLS, **fields}


def cut(text: str, size: int = 5) -> list[str]:
    return [text[k : k + size] for k in range(0, len(text), size)]


async def test_a_whole_answer_holds_thoughts_and_calls(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(clever)))
    claim = await clever.tell(*cut(f"<think>\nWhere?\n</think>\n\n{CALL}{AGAIN}"))
    choice = (await asked).choices[0]
    assert claim.job.tools == TOOLS
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.reasoning_content == "Where?"
    calls: Any = choice.message.tool_calls
    assert [(c.type, c.function.name, json.loads(c.function.arguments)["city"]) for c in calls] == [
        ("function", "weather", "Bern"),
        ("function", "time", "Rome"),
    ]
    assert len({call.id for call in calls}) == 2


async def test_a_stream_adds_up_to_the_whole_answer(site: Site, clever: Hand) -> None:
    told = asyncio.create_task(clever.tell(*cut(f"<think>Hm</think>So:\n{CALL}{AGAIN}", 3)))
    async with site.sdk.chat.completions.stream(**ask(clever, stream_options={"include_usage": True})) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_completion()
    await told
    choice = final.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "So:", "tool_calls")
    assert choice.message.reasoning_content == "Hm"  # type: ignore[attr-defined]
    calls: Any = choice.message.tool_calls
    assert [(c.function.name, c.function.arguments) for c in calls] == [
        ("weather", '{"city": "Bern"}'),
        ("time", '{"city": "Rome"}'),
    ]
    assert [e.name for e in events if e.type == "tool_calls.function.arguments.done"] == ["weather", "time"]
    assert final.usage is not None
    assert final.usage.completion_tokens_details is None  # how many were thoughts is not known, so it is not told


async def test_names_and_ids_are_said_once_and_arguments_come_in_fragments(site: Site, clever: Hand) -> None:
    told = asyncio.create_task(clever.tell(*cut(CALL)))
    async with site.http.stream("POST", CHAT, json=ask(clever, stream=True)) as response:
        deltas = [frame["choices"][0]["delta"] for frame in await frames(response)]
    await told
    assert deltas[0] == {"role": "assistant", "content": None}
    first, *fragments = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert (first["index"], first["function"]) == (0, {"name": "weather", "arguments": ""})
    assert len(fragments) > 1
    assert all(set(fragment) == {"index", "function"} for fragment in fragments)
    assert all(set(fragment["function"]) == {"arguments"} for fragment in fragments)


async def test_calls_cut_short_end_with_length(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(clever)))
    await clever.tell(CALL[:-20], reason=Reason.LENGTH)
    choice = (await asked).choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls


async def test_a_malformed_call_is_content(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(clever)))
    await clever.tell('<tool_call>{"name": weather}</tool_call>')
    choice = (await asked).choices[0]
    assert (choice.message.content, choice.finish_reason) == ('<tool_call>{"name": weather}</tool_call>', "stop")


@pytest.mark.parametrize("fields", [{"tool_choice": "none"}, {"tools": []}])
async def test_without_tools_on_offer_no_call_is_looked_for(site: Site, clever: Hand, fields: Any) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(clever, **fields)))
    claim = await clever.tell(CALL)
    assert claim.job.tools == []
    assert (await asked).choices[0].message.content == CALL


async def test_a_turn_with_results_reaches_the_worker(site: Site, clever: Hand) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "time", "arguments": '{"city": "Bern"}'}}
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm"},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "noon"}]},
    ]
    asked = asyncio.create_task(site.post(CHAT, ask(clever, messages=messages)))
    claim = await clever.tell("Noon.")
    assert (await asked).status_code == 200
    assert claim.job.messages == messages


@pytest.mark.parametrize(
    ("fields", "names", "most"),
    [
        ({"tool_choice": "required"}, ["weather", "time"], None),
        ({"tool_choice": "required", "parallel_tool_calls": False}, ["weather", "time"], 1),
        ({"tool_choice": {"type": "function", "function": {"name": "time"}}}, ["time"], 1),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "time"}}],
                    },
                }
            },
            ["time"],
            None,
        ),
    ],
    ids=["required", "one", "named", "allowed"],
)
async def test_a_call_that_must_come_is_a_grammar(
    site: Site, clever: Hand, fields: Any, names: list[str], most: int | None
) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(clever, **fields)))
    claim = await clever.tell('[{"name": "time", "arguments": {"city": "Bern"}}]')
    choice = (await asked).choices[0]
    assert [c.function.name for c in choice.message.tool_calls or []] == ["time"]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    grammar = claim.job.grammar
    assert grammar is not None
    schema = json.loads(grammar.text)
    items = schema["items"].get("anyOf", [schema["items"]])
    assert [item["properties"]["name"]["const"] for item in items] == names
    assert [tool["function"]["name"] for tool in claim.job.tools] == names
    assert (schema["minItems"], schema.get("maxItems")) == (1, most)
    assert claim.job.template_args == {"enable_thinking": False}


async def test_without_parallel_calls_only_the_first_counts(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(clever, parallel_tool_calls=False)))
    await clever.tell(CALL + AGAIN)
    assert len((await asked).choices[0].message.tool_calls or []) == 1


async def test_the_older_form_is_answered_in_the_older_form(site: Site, clever: Hand) -> None:
    body: Any = ask(clever, functions=[{"name": "weather", "parameters": SCHEMA}])
    del body["tools"]
    asked = asyncio.create_task(site.sdk.chat.completions.create(**body))
    await clever.tell(CALL)
    choice = (await asked).choices[0]
    called = choice.message.function_call
    assert called is not None
    assert (called.name, called.arguments) == ("weather", '{"city": "Bern"}')
    assert (choice.finish_reason, choice.message.tool_calls) == ("function_call", None)


class Place(BaseModel):
    city: str


async def test_an_answer_is_parsed_into_the_class_that_asked_for_it(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(
        site.sdk.chat.completions.parse(model=clever.model, messages=HELLO, response_format=Place)
    )
    claim = await clever.tell('{"city": ', '"Bern"}')
    assert (await asked).choices[0].message.parsed == Place(city="Bern")
    assert claim.job.grammar is not None
    assert claim.job.grammar.kind == "json_schema"
    assert json.loads(claim.job.grammar.text)["required"] == ["city"]


@pytest.mark.parametrize(
    ("text", "called"),
    [('{"city": "Bern"}', False), ('[{"name": "time", "arguments": {"city": "Bern"}}]', True)],
    ids=["answer", "call"],
)
async def test_a_form_and_tools_together_are_either(site: Site, clever: Hand, text: str, called: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA | {"$ref": "#/$defs/x"}}}
    asked = asyncio.create_task(site.post(CHAT, ask(clever, response_format=form)))
    claim = await clever.tell(text)
    message = (await asked).json()["choices"][0]["message"]
    assert bool(message.get("tool_calls")) == called
    assert message["content"] == (None if called else text)
    assert claim.job.grammar is not None
    schema = json.loads(claim.job.grammar.text)
    assert schema["$defs"]["answer"]["$ref"] == "#/$defs/answer/$defs/x"


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Grammar("json_object")),
        ({"guided_json": {"type": "null"}}, Grammar("json_schema", '{"type":"null"}')),
        ({"guided_regex": "a+"}, Grammar("regex", "a+")),
        ({"structured_outputs": {"choice": ["a", "b"]}}, Grammar("choice", '["a","b"]')),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, Grammar("lark", 'start: "a"')),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_forms_reach_the_worker_as_grammars(site: Site, clever: Hand, fields: Any, grammar: Any) -> None:
    asked = asyncio.create_task(site.post(CHAT, {"model": clever.model, "messages": HELLO, **fields}))
    claim = await clever.tell("a")
    assert (await asked).status_code == 200
    assert claim.job.grammar == grammar


@pytest.mark.parametrize(("effort", "thinks"), [("none", False), ("minimal", False), ("high", True)])
async def test_effort_switches_thinking(site: Site, clever: Hand, effort: str, thinks: bool) -> None:
    asked = asyncio.create_task(site.post(CHAT, ask(clever, reasoning_effort=effort)))
    claim = await clever.tell("a")
    assert (await asked).status_code == 200
    assert claim.job.template_args == {"reasoning_effort": effort, "enable_thinking": thinks}


LIKELY = [
    Logprob(b"\xc3", -0.5, [(b"\xc3", -0.5), (b"a", -1.5)]),
    Logprob(b"\xa9", -0.25, [(b"\xa9", -0.25), (b"b", -2.0)]),
]


async def test_log_probabilities_come_for_every_token_whole_and_streamed(site: Site, clever: Hand) -> None:
    body: Any = {"model": clever.model, "messages": HELLO, "logprobs": True, "top_logprobs": 2}

    async def tell() -> None:
        claim = await clever.one()
        assert claim.job.logprobs == 2
        await clever.say(claim, "", "é", logprobs=LIKELY)
        await clever.end(claim)

    told = asyncio.create_task(tell())
    whole = (await site.sdk.chat.completions.create(**body)).choices[0].logprobs
    await told
    told = asyncio.create_task(tell())
    async with site.sdk.chat.completions.stream(**body) as stream:
        streamed = (await stream.get_final_completion()).choices[0].logprobs
    await told
    assert whole is not None
    assert streamed is not None
    assert whole.content == streamed.content
    first, second = whole.content or []
    assert (first.bytes, first.logprob, [top.bytes for top in first.top_logprobs]) == ([0xC3], -0.5, [[0xC3], [97]])
    assert bytes((first.bytes or []) + (second.bytes or [])).decode() == "é"


async def test_thoughts_can_be_shown_in_the_other_field(redis_url: str, clever: Hand) -> None:
    async with a_site(redis_url, drain_s=0, reasoning_field="reasoning") as other:
        asked = asyncio.create_task(other.post(CHAT, ask(clever)))
        await clever.tell("<think>Hm</think>Yes")
        message = (await asked).json()["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("Hm", "Yes")
    assert "reasoning_content" not in message


async def test_a_model_without_tools_refuses_them(site: Site, hand: Hand) -> None:
    check(await site.post(CHAT, ask(hand)), 400, "unsupported_parameter", "tools")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs.regex"),
        ({"logprobs": True}, "logprobs"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_the_engine_cannot_do_is_refused_by_name(site: Site, hand: Hand, fields: Any, param: str) -> None:
    body = {"model": hand.model, "messages": HELLO, **fields}
    check(await site.post(CHAT, body), 400, "unsupported_parameter", param)


async def test_a_call_cannot_be_forced_without_grammars(site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, model, tool_format="hermes") as hand:
        body = ask(hand, tool_choice="required")
        check(await site.post(CHAT, body), 400, "unsupported_parameter", "tool_choice")


async def test_what_no_grammar_keeps_is_named(site: Site, clever: Hand) -> None:
    strict: Any = [{"type": "function", "function": TOOLS[0]["function"] | {"strict": True}}]
    asked = asyncio.create_task(site.post(CHAT, ask(clever, tools=strict)))
    await clever.tell("No.")
    assert (await asked).headers["x-queuechat-ignored"] == "tools.strict"
