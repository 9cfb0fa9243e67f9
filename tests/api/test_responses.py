"""Responses that are waited for: whole and streamed, through the official SDK and as they are on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from queuechat.bus import Bus
from queuechat.protocol import Failure, Grammar, Logprob, Reason
from tests.api.hand import Hand
from tests.api.responses import CALL, PATH, SCHEMA, TERMINAL, TOOLS, ask, cut, events, kinds
from tests.api.site import Site
from tests.api.test_refusals import check


@pytest.fixture
async def clever(bus: Bus, model: str) -> AsyncIterator[Hand]:
    """A worker whose model calls tools, thinks, and can be held to grammars."""
    grammars = ["json_schema", "json_object"]
    async with Hand(bus, model, tool_format="hermes", reasoning="think", grammars=grammars, logprobs=True) as opened:
        yield opened


async def streamed(site: Site, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with site.http.stream("POST", PATH, json={**body, "stream": True}) as response:
        return await events(response)


async def test_a_whole_response_repeats_what_was_asked_and_says_what_came(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(
        site.sdk.responses.create(
            model=hand.model,
            input=[{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            instructions="Be brief.",
            metadata={"a": "b"},
            temperature=0.5,
            max_output_tokens=9,
            user="me",
        )
    )
    claim = await hand.tell("Hello", " you", tail=".")
    made = await asked
    assert claim.job.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert (claim.job.max_tokens, claim.job.sampling.temperature) == (9, 0.5)
    assert made.id == f"resp_{claim.job.id}"
    assert (made.object, made.status, made.output_text) == ("response", "completed", "Hello you.")
    assert (made.model, made.background) == (hand.model, False)
    assert (made.instructions, made.metadata, made.temperature, made.user) == ("Be brief.", {"a": "b"}, 0.5, "me")
    assert (made.parallel_tool_calls, made.tool_choice, made.tools, made.error) == (True, "auto", [], None)
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (7, 2, 9)


async def test_events_come_in_their_order_under_rising_numbers(site: Site, clever: Hand) -> None:
    told = asyncio.create_task(clever.tell(*cut(f"<think>Hm, so.</think>It is:\n{CALL}", 3)))
    found = await streamed(site, ask(clever, tools=TOOLS))
    await told
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    squeezed = [kind for k, kind in enumerate(kinds(found)) if k == 0 or kind != kinds(found)[k - 1]]
    assert squeezed == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    final = found[-1]["response"]
    thought, said, called = final["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Hm, so."}]
    assert said["content"][0]["text"] == "It is:"
    assert (called["name"], json.loads(called["arguments"])) == ("weather", {"city": "Bern"})
    for index, item in enumerate(final["output"]):
        mine = [event for event in found if event.get("output_index") == index]
        assert mine[-1]["item"] == item
        assert {event["item_id"] for event in mine if "item_id" in event} == {item["id"]}
        deltas = "".join(event["delta"] for event in mine if event["type"].endswith(".delta"))
        assert deltas == item.get("arguments", item.get("content", [{}])[0].get("text"))
    assert 0 < final["usage"]["output_tokens_details"]["reasoning_tokens"] < final["usage"]["output_tokens"]


async def test_a_stream_adds_up_to_the_whole_response(site: Site, clever: Hand) -> None:
    text = f"<think>Hm</think>So:\n{CALL}"
    told = asyncio.create_task(clever.tell(*cut(text, 3)))
    async with site.sdk.responses.stream(model=clever.model, input="hello", tools=TOOLS) as stream:
        seen = [event.type async for event in stream]
        final = await stream.get_final_response()
    await told
    asked = asyncio.create_task(site.sdk.responses.create(model=clever.model, input="hello", tools=TOOLS))
    await clever.tell(text)
    whole = await asked
    assert seen[-1] == "response.completed"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output_text == whole.output_text == "So:"
    assert [item.type for item in whole.output] == [item.type for item in final.output]
    assert whole.output[2].arguments == final.output[2].arguments == '{"city": "Bern"}'  # type: ignore[union-attr]
    assert await site.sdk.responses.retrieve(final.id) is not None


class Place(BaseModel):
    city: str


async def test_a_response_is_parsed_into_the_class_that_asked_for_it(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(site.sdk.responses.parse(model=clever.model, input="where?", text_format=Place))
    claim = await clever.tell('{"city": ', '"Bern"}')
    assert (await asked).output_parsed == Place(city="Bern")
    assert claim.job.grammar is not None
    assert (claim.job.grammar.kind, json.loads(claim.job.grammar.text)["required"]) == ("json_schema", ["city"])
    assert claim.job.template_args == {"enable_thinking": False}


async def test_a_json_object_is_a_grammar(site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(site.post(PATH, ask(clever, text={"format": {"type": "json_object"}})))
    claim = await clever.tell("{}")
    assert (await asked).json()["text"]["format"] == {"type": "json_object"}
    assert claim.job.grammar == Grammar("json_object")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["weather", "time"]),
        ({"type": "function", "name": "time"}, ["time"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]}, ["time"]),
    ],
    ids=["required", "named", "allowed"],
)
async def test_a_call_that_must_come_is_a_grammar(site: Site, clever: Hand, choice: Any, names: list[str]) -> None:
    asked = asyncio.create_task(site.post(PATH, ask(clever, tools=TOOLS, tool_choice=choice)))
    claim = await clever.tell('[{"name": "time", "arguments": {"city": "Bern"}}]')
    body = (await asked).json()
    assert [(item["type"], item["name"]) for item in body["output"]] == [("function_call", "time")]
    assert body["tool_choice"] == choice
    assert [tool["name"] for tool in body["tools"]] == ["weather", "time"]
    assert [tool["function"]["name"] for tool in claim.job.tools] == names
    assert claim.job.grammar is not None


async def test_a_conversation_that_is_given_back_reaches_the_worker_as_turns(site: Site, clever: Hand) -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "Ah"}]},
        {"type": "function_call", "call_id": "c1", "name": "time", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "noon"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "one"}]},
    ]
    asked = asyncio.create_task(
        site.post(PATH, ask(clever, input=items, tools=TOOLS, store=False, include=["reasoning.encrypted_content"]))
    )
    claim = await clever.tell("<think>So</think>Noon.")
    body = (await asked).json()
    function = {"name": "time", "arguments": "{}"}
    assert claim.job.messages == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "Ah",
            "reasoning_content": "Hm",
            "tool_calls": [{"id": id, "type": "function", "function": function} for id in ("c1", "c2")],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "c1"},
        {"role": "tool", "content": "one", "tool_call_id": "c2"},
    ]
    assert body["store"] is False
    assert body["output"][0]["encrypted_content"] is None
    assert (await site.http.get(f"{PATH}/{body['id']}")).status_code == 404


@pytest.mark.parametrize(("effort", "thinks"), [("none", False), ("high", True)])
async def test_effort_switches_thinking(site: Site, clever: Hand, effort: str, thinks: bool) -> None:
    asked = asyncio.create_task(site.post(PATH, ask(clever, reasoning={"effort": effort, "summary": "auto"})))
    claim = await clever.tell("a")
    assert (await asked).json()["reasoning"] == {"effort": effort, "summary": None}
    assert claim.job.template_args == {"reasoning_effort": effort, "enable_thinking": thinks}


async def test_an_answer_cut_short_is_incomplete(site: Site, hand: Hand) -> None:
    told = asyncio.create_task(hand.tell("One", " two", reason=Reason.LENGTH))
    found = await streamed(site, ask(hand, max_output_tokens=2))
    await told
    final = found[-1]["response"]
    assert (found[-1]["type"], final["status"]) == ("response.incomplete", "incomplete")
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["output"][0]["status"] == "incomplete"


async def test_log_probabilities_come_with_the_text(site: Site, clever: Hand) -> None:
    likely = [Logprob(b"Y", -0.5, [(b"Y", -0.5)]), Logprob(b"es", -0.25, [(b"es", -0.25)])]

    async def tell() -> None:
        claim = await clever.one()
        assert claim.job.logprobs == 1
        await clever.say(claim, "Y", "es", logprobs=likely)
        await clever.end(claim)

    told = asyncio.create_task(tell())
    fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    found = await streamed(site, ask(clever, **fields))
    await told
    deltas = [e["logprobs"][0]["token"] for e in found if e["type"] == "response.output_text.delta"]
    whole = found[-1]["response"]["output"][0]["content"][0]["logprobs"]
    assert deltas == [one["token"] for one in whole] == ["Y", "es"]
    assert whole[1]["logprob"] == -0.25


async def test_a_bad_prompt_is_an_http_error_and_a_failure_after_that_is_an_event(site: Site, hand: Hand) -> None:
    async def fail(*texts: str) -> None:
        claim = await hand.one()
        await hand.say(claim, *texts)
        await hand.end(claim, Reason.ERROR, error=Failure("context_length_exceeded", "too long", "input"))

    told = asyncio.create_task(fail())
    with pytest.raises(openai.BadRequestError) as caught:
        await site.sdk.responses.create(model=hand.model, input="x", stream=True)
    await told
    assert caught.value.code == "context_length_exceeded"
    told = asyncio.create_task(fail("One"))
    found = await streamed(site, ask(hand))
    await told
    assert kinds(found)[-2:] == ["output_item.done", "failed"]
    final = found[-1]["response"]
    assert (final["status"], final["error"]["code"]) == ("failed", "invalid_prompt")
    assert final["output"][0]["content"][0]["text"] == "One"
    stored = await site.http.get(f"{PATH}/{final['id']}")
    assert stored.json() == final


async def test_every_stream_ends_with_a_terminal_event_and_nothing_after(site: Site, hand: Hand) -> None:
    told = asyncio.create_task(hand.tell())
    found = await streamed(site, ask(hand))
    await told
    assert kinds(found) == ["created", "in_progress", "completed"]
    assert found[-1]["type"] in TERMINAL
    assert found[-1]["response"]["output"] == []


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "unsupported_parameter", "tools[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "unsupported_parameter",
         "input[0].content[0].type"),
        ({"input": [{"type": "computer_call", "id": "x"}]}, "unsupported_parameter", "input[0].type"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": None}, "invalid_value", "input"),
        ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "missing_required_parameter", "input[0].name"),
        ({"input": [{"id": "msg_nothing"}]}, "invalid_value", "input[0].id"),
        ({"previous_response_id": "resp_nothing"}, "previous_response_not_found", "previous_response_id"),
        ({"previous_response_id": "resp_" + "0" * 32}, "previous_response_not_found", "previous_response_id"),
        ({"background": True, "store": False}, "invalid_value", "store"),
        ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
        ({"max_tokens": 5}, "unsupported_parameter", "max_tokens"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "x"}}, "invalid_value", "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "invalid_value", "text.format"),
        ({"include": ["everything"]}, "invalid_value", "include[0]"),
        ({"metadata": {"k" * 65: "v"}}, "invalid_value", "metadata"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused_by_field(
    site: Site, clever: Hand, fields: Any, code: str, param: str
) -> None:
    answer = await site.post(PATH, ask(clever, **fields))
    check(answer, 400, code, answer.json()["error"]["param"])
    assert answer.json()["error"]["param"].startswith(param)


async def test_what_the_model_cannot_do_is_refused_by_name(site: Site, hand: Hand) -> None:
    check(await site.post(PATH, ask(hand, tools=TOOLS)), 400, "unsupported_parameter", "tools")
    body = ask(hand, text={"format": {"type": "json_object"}})
    check(await site.post(PATH, body), 400, "unsupported_parameter", "text.format")
    check(await site.post(PATH, ask(hand, top_logprobs=1)), 400, "unsupported_parameter", "logprobs")


async def test_what_has_no_effect_is_named(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(site.post(PATH, ask(hand, truncation="auto", colour="red", service_tier="priority")))
    await hand.tell("a")
    answer = await asked
    assert sorted(answer.headers["x-queuechat-ignored"].split(",")) == ["colour", "truncation"]
    assert (answer.json()["truncation"], answer.json()["service_tier"]) == ("disabled", "default")
