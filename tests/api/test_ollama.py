"""Ollama's API: lines of JSON, names with tags, one sentence for an error; off unless it is switched on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from queuechat.bus import Bus
from queuechat.protocol import Failure, Logprob, Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_tools import cut

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "weather", "parameters": SCHEMA}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
PNG = "iVBORw0KGgo="


@pytest.fixture(scope="module")
async def open_site(redis_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, ollama=True, hold_s=0.2, drain_s=0) as opened:
        yield opened


@pytest.fixture
async def clever(bus: Bus, model: str) -> AsyncIterator[Hand]:
    abilities: dict[str, Any] = {"tool_format": "hermes", "reasoning": "think", "logprobs": True}
    async with Hand(bus, model, grammars=["json_schema", "json_object"], **abilities) as opened:
        yield opened


def ask(hand: Hand, **fields: object) -> dict[str, Any]:
    return {"model": hand.model, "messages": HELLO, "stream": False, **fields}


def prompt(hand: Hand, **fields: object) -> dict[str, Any]:
    return {"model": hand.model, "prompt": "hello", "stream": False, **fields}


async def lines(site: Site, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with site.http.stream("POST", path, json=body) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) async for line in response.aiter_lines()]


def check(response: httpx.Response, status: int, words: str) -> None:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert words in response.json()["error"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show"])
async def test_it_is_off_unless_switched_on_and_says_so(site: Site, path: str) -> None:
    check(await site.post(path, {}), 404, "QUEUECHAT_OLLAMA=true")
    assert (await site.http.get("/")).json()["error"]["code"] == "not_found"


async def test_it_says_that_it_is_running(open_site: Site) -> None:
    assert (await open_site.http.get("/")).text == "Ollama is running"
    assert (await open_site.http.head("/")).status_code == 200
    assert set((await open_site.http.get("/api/version")).json()) == {"version", "queuechat"}


async def test_models_are_listed_with_tags_and_shown_with_abilities(open_site: Site, clever: Hand) -> None:
    await open_site.house.roster.refresh()
    name = f"{clever.model}:latest"
    row = next(r for r in (await open_site.http.get("/api/tags")).json()["models"] if r["name"] == name)
    assert (row["model"], len(row["digest"]), row["size"]) == (name, 64, 0)
    assert datetime.fromisoformat(row["modified_at"]).tzinfo
    assert {"family", "parameter_size", "quantization_level"} <= set(row["details"])
    loaded = next(r for r in (await open_site.http.get("/api/ps")).json()["models"] if r["name"] == name)
    assert (loaded["digest"], loaded["context_length"]) == (row["digest"], 4096)
    for asked in ({"model": name}, {"model": clever.model}, {"name": clever.model}):
        shown = (await open_site.post("/api/show", asked)).json()
        assert shown["capabilities"] == ["completion", "tools", "thinking"]
        assert shown["model_info"][shown["model_info"]["general.architecture"] + ".context_length"] == 4096
    check(await open_site.post("/api/show", {}), 400, "`model` is missing")


async def test_a_chat_streams_lines_unless_told_otherwise(open_site: Site, hand: Hand) -> None:
    body = {"model": f"{hand.model}:latest", "messages": [{"role": "system", "content": "Be brief."}, *HELLO]}
    asked = asyncio.create_task(lines(open_site, "/api/chat", body))
    claim = await hand.tell("Hel", "lo", tail="!", reason=Reason.LENGTH)
    *told, last = await asked
    assert claim.job.messages == body["messages"]
    assert "".join(line["message"]["content"] for line in told) == "Hello!"
    assert {(line["model"], line["message"]["role"], line["done"]) for line in told} == {
        (body["model"], "assistant", False)
    }
    assert (last["done"], last["done_reason"], last["message"]["content"]) == (True, "length", "")
    assert (last["prompt_eval_count"], last["eval_count"]) == (7, 2)
    parts = [last[f"{part}_duration"] for part in ("load", "prompt_eval", "eval")]
    assert all(part >= 0 for part in parts)
    assert sum(parts) == last["total_duration"]
    assert last["total_duration"] % 1_000_000 == 0


async def test_a_whole_chat_is_one_object(open_site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(open_site.post("/api/chat", ask(hand)))
    await hand.tell("Hel", "lo")
    body = (await asked).json()
    assert body["message"] == {"role": "assistant", "content": "Hello"}
    assert (body["done"], body["done_reason"], body["eval_count"]) == (True, "stop", 2)


async def test_options_are_kept_and_those_that_cannot_be_are_named(open_site: Site, hand: Hand) -> None:
    options = {
        **{"temperature": 0, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "repeat_penalty": 1.2, "seed": 3},
        **{"presence_penalty": 0.5, "frequency_penalty": 0.25, "num_predict": 9, "stop": ["END"]},
        **{"num_ctx": 100, "mirostat": 1},
    }
    asked = asyncio.create_task(open_site.post("/api/chat", ask(hand, options=options, keep_alive="5m")))
    job = (await hand.tell("ok")).job
    response = await asked
    drawn = job.sampling
    assert (job.max_tokens, job.fit, job.stop, drawn.seed) == (9, True, ["END"], 3)
    assert (drawn.temperature, drawn.top_k, drawn.top_p, drawn.min_p) == (0, 5, 0.5, 0.1)
    assert (drawn.repetition_penalty, drawn.presence_penalty, drawn.frequency_penalty) == (1.2, 0.5, 0.25)
    assert set(response.headers["x-queuechat-ignored"].split(",")) == {"options.num_ctx", "options.mirostat"}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_without_a_limit_the_context_is_one(open_site: Site, hand: Hand, path: str) -> None:
    for more in ({}, {"options": {"num_predict": -1}}, {"raw": True}):
        asked = asyncio.create_task(open_site.post(path, ask(hand, prompt="x") | more))
        assert (await hand.tell("ok")).job.max_tokens is None
        assert (await asked).status_code == 200


async def test_calls_and_thoughts_are_told_whole(open_site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(lines(open_site, "/api/chat", ask(clever, tools=TOOLS, stream=True)))
    claim = await clever.tell(*cut(f"<think>Where?</think>So:\n{CALL}", 4))
    told = [line["message"] for line in await asked]
    assert claim.job.tools == TOOLS
    assert "".join(message.get("thinking", "") for message in told) == "Where?"
    assert "".join(message["content"] for message in told).strip() == "So:"
    calls = [call["function"] for message in told for call in message.get("tool_calls", [])]
    assert calls == [{"index": 0, "name": "weather", "arguments": {"city": "Bern"}}]
    asked_whole = asyncio.create_task(open_site.post("/api/chat", ask(clever, tools=TOOLS)))
    await clever.tell(f"<think>Where?</think>{CALL}")
    message = (await asked_whole).json()["message"]
    assert (message["thinking"], message["content"]) == ("Where?", "")
    assert message["tool_calls"][0]["function"]["arguments"] == {"city": "Bern"}


async def test_a_call_whose_arguments_are_broken_stays_text(open_site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(open_site.post("/api/chat", ask(clever, tools=TOOLS)))
    await clever.tell('<tool_call>{"name": "weather", "arguments": {"city": Bern}}</tool_call>')
    message = (await asked).json()["message"]
    assert "tool_calls" not in message
    assert '{"city": Bern}' in message["content"]


async def test_results_find_their_calls_by_name(open_site: Site, clever: Hand) -> None:
    called = [{"function": {"name": name, "arguments": {"k": k}}} for k, name in enumerate(("a", "b"))]
    turns = [
        *HELLO,
        {"role": "assistant", "content": "", "thinking": "Hm", "tool_calls": called},
        {"role": "tool", "content": "two", "tool_name": "b"},
        {"role": "tool", "content": "one"},
    ]
    asked = asyncio.create_task(open_site.post("/api/chat", ask(clever, messages=turns, tools=TOOLS)))
    claim = await clever.tell("ok")
    await asked
    assert claim.job.messages is not None
    _, said, second, first = claim.job.messages
    assert [call["id"] for call in said["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    assert (said["reasoning_content"], said["tool_calls"][0]["function"]["arguments"]) == ("Hm", '{"k":0}')


@pytest.mark.parametrize(("form", "kind"), [("json", "json_object"), (SCHEMA, "json_schema"), ("", None), (None, None)])
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_a_format_is_a_grammar(open_site: Site, clever: Hand, path: str, form: Any, kind: str | None) -> None:
    asked = asyncio.create_task(open_site.post(path, ask(clever, prompt="x", format=form)))
    grammar = (await clever.tell("{}")).job.grammar
    assert (await asked).status_code == 200
    assert (grammar.kind if grammar else None) == kind


@pytest.mark.parametrize(
    ("think", "args"),
    [
        (None, {}),
        (False, {"enable_thinking": False, "reasoning_effort": "none"}),
        (True, {"enable_thinking": True, "reasoning_effort": "medium"}),
        ("high", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
async def test_think_is_told_to_the_template(open_site: Site, clever: Hand, think: Any, args: Any) -> None:
    asked = asyncio.create_task(open_site.post("/api/chat", ask(clever, think=think)))
    assert (await clever.tell("ok")).job.template_args == args
    assert (await asked).status_code == 200


async def test_likelihoods_come_with_their_tokens(open_site: Site, clever: Hand) -> None:
    for stream in (False, True):
        body = ask(clever, logprobs=True, top_logprobs=1, stream=stream)
        asked = asyncio.create_task(lines(open_site, "/api/chat", body) if stream else _one(open_site, body))
        claim = await clever.one()
        assert claim.job.logprobs == 1
        await clever.say(claim, "a", "b", logprobs=[Logprob(b"a", -0.5), Logprob(b"b", -1.0)])
        await clever.end(claim)
        told = [entry for line in await asked for entry in line.get("logprobs", [])]
        assert [(entry["token"], entry["logprob"]) for entry in told] == [("a", -0.5), ("b", -1.0)]


async def _one(site: Site, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [(await site.post("/api/chat", body)).json()]


async def test_a_prompt_goes_through_the_template_unless_it_is_raw(open_site: Site, clever: Hand) -> None:
    asked = asyncio.create_task(lines(open_site, "/api/generate", prompt(clever, system="Be brief.", stream=True)))
    claim = await clever.tell("<think>Hm</think>", "Hi")
    *told, last = await asked
    assert claim.job.messages == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert "".join(line["response"] for line in told) == "Hi"
    assert "".join(line.get("thinking", "") for line in told) == "Hm"
    assert (last["response"], last["done_reason"], "message" in last) == ("", "stop", False)
    whole = asyncio.create_task(open_site.post("/api/generate", prompt(clever, raw=True)))
    raw = await clever.tell("Hi")
    assert (raw.job.prompt, raw.job.messages) == ("hello", None)
    assert (await whole).json()["response"] == "Hi"


@pytest.mark.parametrize(
    ("path", "body"), [("/api/generate", {}), ("/api/chat", {}), ("/api/chat", {"messages": [], "stream": True})]
)
async def test_who_asks_nothing_is_told_that_the_model_is_there(
    open_site: Site, hand: Hand, path: str, body: dict[str, Any]
) -> None:
    told = (await open_site.post(path, {"model": hand.model, **body})).json()
    assert (told["done"], told["done_reason"]) == (True, "load")


async def test_vectors_come_in_both_forms(open_site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, model, embeds=True) as hand:
        asked = asyncio.create_task(
            open_site.post("/api/embed", {"model": model, "input": ["a", "b"], "truncate": True})
        )
        claim = await hand.one()
        assert claim.job.inputs == ["a", "b"]
        await hand.say(claim, "", vector="AACAPwAAAEA=")
        await hand.say(claim, "", vector="AAAAAAAAgD8=")
        await hand.end(claim)
        response = await asked
        body = response.json()
        assert (body["embeddings"], body["prompt_eval_count"], body["model"]) == ([[1.0, 2.0], [0.0, 1.0]], 7, model)
        assert body["total_duration"] >= body["load_duration"] >= 0
        assert response.headers["x-queuechat-ignored"] == "truncate"
        asked = asyncio.create_task(open_site.post("/api/embeddings", {"model": model, "prompt": "a"}))
        claim = await hand.one()
        await hand.say(claim, "", vector="AACAPwAAAEA=")
        await hand.end(claim)
        assert (await asked).json() == {"embedding": [1.0, 2.0]}


async def test_a_waiting_stream_is_kept_alive_by_what_no_reader_sees(redis_url: str, hand: Hand) -> None:
    async with (
        a_site(redis_url, ollama=True, hold_s=0, drain_s=0) as site,
        site.http.stream("POST", "/api/chat", json=ask(hand, stream=True)) as response,
    ):
        raw = response.aiter_raw()
        first = await anext(raw)
        assert first.strip() == b""
        assert b"\n" not in first
        await hand.tell("ok")
        told = (first + b"".join([part async for part in raw])).splitlines()
        assert [json.loads(line)["done"] for line in told][-1] is True


async def test_an_error_after_the_start_is_a_line(open_site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(lines(open_site, "/api/chat", ask(hand, stream=True)))
    claim = await hand.one()
    await hand.say(claim, "Hel")
    await hand.end(claim, Reason.DEAD, error=Failure("job_failed", "it killed its workers"))
    assert (await asked)[-1] == {"error": "it killed its workers"}


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("chat", {"messages": "hi"}, "`messages` must be a list"),
        ("chat", {"messages": [{"role": "king"}]}, "`messages[0].role`"),
        ("chat", {"options": {"temperature": "hot"}}, "`options.temperature`"),
        ("chat", {"options": []}, "`options` must be an object"),
        ("chat", {"format": "xml"}, "`format`"),
        ("chat", {"think": True}, "does not think"),
        ("chat", {"tools": TOOLS}, "calls no tools"),
        ("chat", {"tools": [{"type": "magic"}]}, "`tools[0].type`"),
        ("chat", {"messages": [{"role": "user", "images": ["!"]}]}, "`messages[0].images[0]` must be the base64"),
        ("chat", {"messages": [{"role": "user", "content": "x", "images": [PNG]}]}, "image"),
        ("chat", {"logprobs": True}, "tells no logprobs"),
        ("generate", {"images": ["!"]}, "`images[0]` must be the base64"),
        ("generate", {"context": [1, 2]}, "`context` is not supported"),
        ("generate", {"template": "{{ .Prompt }}"}, "`template` is not supported"),
        ("generate", {"raw": True, "system": "x"}, "`system` must be left out where there is `raw`"),
        ("generate", {"suffix": "x", "format": "json"}, "`format` must be left out where there is `suffix`"),
        ("embed", {"input": ["a"]}, "gives no embeddings"),
        ("embed", {"input": [""]}, "`input[0]`"),
        ("embeddings", {}, "gives no embeddings"),
        ("embeddings", {"prompt": None}, "`prompt` must be a string"),
    ],
)
async def test_a_body_that_cannot_be_served_is_told_why(
    open_site: Site, hand: Hand, path: str, fields: Any, words: str
) -> None:
    check(await open_site.post(f"/api/{path}", {"prompt": "x", **ask(hand), **fields}), 400, words)


async def test_all_errors_have_its_shape_but_those_of_others(redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, ollama=True, api_keys="alpha", drain_s=0) as site:
        check(await site.http.get("/api/tags"), 401, "")
        key = {"authorization": "Bearer alpha"}
        body = ask(hand, model="nobody:latest")
        check(await site.http.post("/api/chat", json=body, headers=key), 404, "'nobody' does not exist")
        check(await site.http.post("/api/pull", json=body, headers=key), 404, "there is no POST /api/pull")
        check(await site.http.get("/api/chat", headers=key), 405, "not allowed")
        for raw in (b"", b"[]", b"nope", b'{"a":' * 50 + b"1" + b"}" * 50):
            check(await site.http.post("/api/chat", content=raw, headers=key), 400, "the request body")
        other = await site.http.get("/api/v1/nothing", headers=key)
        assert other.json()["object"] == "error"


async def test_a_model_with_a_tag_of_its_own_is_found_first(open_site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, f"{model}:latest") as tagged, Hand(bus, model):
        asked = asyncio.create_task(open_site.post("/api/chat", ask(tagged)))
        await tagged.tell("mine")
        assert (await asked).json()["message"]["content"] == "mine"
