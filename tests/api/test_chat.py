"""Chat through the official SDK, and the bytes beneath it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest

from queuechat.bus import Bus
from queuechat.protocol import Failure, Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site

HELLO: Any = [{"role": "user", "content": "hello"}]


def ask(hand: Hand, **fields: object) -> dict[str, Any]:
    return {"model": hand.model, "messages": HELLO, **fields}


async def frames(response: httpx.Response) -> list[dict[str, Any]]:
    """The data of a stream that ends with [DONE]."""
    lines = [line[6:] async for line in response.aiter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_a_whole_answer_has_text_reason_and_usage(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(hand, max_tokens=5, stop="END", seed=3)))
    claim = await hand.tell("Hel", "lo", tail="!")
    answer = await asked
    assert claim.job.messages == HELLO
    assert (claim.job.max_tokens, claim.job.stop, claim.job.sampling.seed) == (5, ["END"], 3)
    assert answer.id == f"chatcmpl-{claim.job.id}"
    assert answer.model == hand.model
    assert answer.choices[0].message.content == "Hello!"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 2, 9)
    assert answer._request_id == claim.job.id


async def test_a_stream_brings_role_text_reason_and_usage_in_this_order(site: Site, hand: Hand) -> None:
    body = ask(hand, stream=True, stream_options={"include_usage": True})
    told = asyncio.create_task(hand.tell("Hel", "lo", tail=" you", reason=Reason.LENGTH))
    async with site.http.stream("POST", "/v1/chat/completions", json=body) as response:
        got = await frames(response)
    await told
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-accel-buffering"] == "no"
    first, *deltas, last, usage = got
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in deltas) == "Hello you"
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")
    assert all(chunk["usage"] is None for chunk in got[:-1])
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 9)
    assert len({chunk["id"] for chunk in got}) == 1


async def test_text_is_sent_as_soon_as_it_is_there(site: Site, hand: Hand) -> None:
    stream = await asyncio.gather(site.sdk.chat.completions.create(**ask(hand, stream=True)), first_word(hand))
    chunks, claim = stream
    got = []
    async for chunk in chunks:
        delta = chunk.choices[0].delta.content
        if delta:
            got.append(delta)
            # The next word is said only when the last one has arrived.
            if delta == "three":
                await hand.end(claim)
            else:
                await hand.say(claim, {"one": "two", "two": "three"}[delta])
    assert got == ["one", "two", "three"]


async def first_word(hand: Hand) -> Any:
    claim = await hand.one()
    await hand.say(claim, "one")
    return claim


async def test_several_choices_open_in_order_and_end_each_for_itself(site: Site, hand: Hand) -> None:
    body = ask(hand, stream=True, n=2, stream_options={"include_usage": True})

    async def answer() -> None:
        zero, one = await hand.claim(2)
        assert (zero.job.sampling.choice, one.job.sampling.choice) == (0, 1)
        assert zero.job.sampling.seed == one.job.sampling.seed
        await hand.say(one, "b")
        await hand.end(one)
        await hand.say(zero, "a", "a")
        await hand.end(zero)

    answered = asyncio.create_task(answer())
    async with site.http.stream("POST", "/v1/chat/completions", json=body) as response:
        got = await frames(response)
    await answered
    choices = [chunk["choices"][0] for chunk in got[:-1]]
    assert [c["index"] for c in choices if c["delta"].get("role")] == [0, 1] == [c["index"] for c in choices[:2]]
    assert [c["index"] for c in choices if c["finish_reason"]] == [1, 0]
    texts = {k: "".join(c["delta"].get("content", "") for c in choices if c["index"] == k) for k in (0, 1)}
    assert texts == {0: "aa", 1: "b"}
    assert got[-1]["usage"]["prompt_tokens"] == 7  # read once, however many answers
    assert got[-1]["usage"]["completion_tokens"] == 3


async def test_several_whole_choices_come_in_order(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(hand, n=2)))
    zero, one = await hand.claim(2)
    await hand.say(one, "b")
    await hand.end(one)
    await hand.say(zero, "a")
    await hand.end(zero, Reason.LENGTH)
    answer = await asked
    assert [(c.index, c.message.content, c.finish_reason) for c in answer.choices] == [
        (0, "a", "length"),
        (1, "b", "stop"),
    ]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_worker_refuses_is_a_400_streamed_or_not(site: Site, hand: Hand, stream: bool) -> None:
    asked = asyncio.create_task(site.sdk.chat.completions.create(**ask(hand, stream=stream)))
    failure = Failure("context_length_exceeded", "maximum context length is 9 tokens", "messages")
    await hand.end(await hand.one(), Reason.ERROR, error=failure)
    with pytest.raises(openai.BadRequestError) as caught:
        await asked
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert "maximum context length" in caught.value.message


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.DEAD, 500, "job_failed"),
        (Reason.DEADLINE, 504, "deadline_exceeded"),
        (Reason.CANCELLED, 400, "request_cancelled"),
    ],
)
async def test_an_answer_that_will_not_come_is_an_error_that_asks_for_no_retry(
    site: Site, hand: Hand, reason: Reason, status: int, code: str
) -> None:
    asked = asyncio.create_task(site.post("/v1/chat/completions", ask(hand)))
    await hand.end(await hand.one(), reason)
    response = await asked
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers["x-should-retry"] == "false"


async def test_an_error_after_the_first_word_ends_the_stream_with_an_error_and_without_done(
    site: Site, hand: Hand
) -> None:
    chunks, claim = await asyncio.gather(site.sdk.chat.completions.create(**ask(hand, stream=True)), first_word(hand))
    got: list[str] = []

    async def read() -> None:
        async for chunk in chunks:
            if text := chunk.choices[0].delta.content:
                got.append(text)
                await hand.end(claim, Reason.DEAD)

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert got == ["one"]
    assert caught.value.code == "job_failed"


async def test_a_long_wait_is_a_200_with_comments_that_the_sdk_reads_over(redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, drain_s=0, hold_s=0) as site:
        async with site.http.stream("POST", "/v1/chat/completions", json=ask(hand, stream=True)) as response:
            assert response.status_code == 200
            chunks = await site.sdk.chat.completions.create(**ask(hand, stream=True))
            lines = response.aiter_lines()
            async for line in lines:
                if line.startswith(": queued position=1"):
                    break
            await hand.tell("first")
            await hand.tell("second")
            rest = [line async for line in lines]
        assert rest[-2:] == ["data: [DONE]", ""]
        assert "".join([c.choices[0].delta.content or "" async for c in chunks]) == "second"


async def test_a_stream_stays_alive_while_nothing_happens(
    site: Site, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.writing.KEEP_ALIVE_S", 0.02)
    chunks, claim = await asyncio.gather(site.sdk.chat.completions.create(**ask(hand, stream=True)), first_word(hand))
    beats = 0
    async for line in chunks.response.aiter_lines():
        beats += line == ": waiting"
        if beats == 3:
            await hand.end(claim)
    assert beats >= 3
    assert line == ""


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("spoken", [True, False])
async def test_a_client_that_leaves_cancels_its_job(site: Site, hand: Hand, stream: bool, spoken: bool) -> None:
    asked = asyncio.create_task(_read_all(site, ask(hand, stream=stream)))
    claim = await hand.one()
    if spoken:
        await hand.say(claim, "word")
    asked.cancel()
    assert await hand.cancelled.get() == claim.job.id


async def _read_all(site: Site, body: dict[str, Any]) -> None:
    async with site.http.stream("POST", "/v1/chat/completions", json=body) as response:
        async for _ in response.aiter_bytes():
            pass


async def test_a_job_that_waits_is_gone_when_its_client_is(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(_read_all(site, ask(hand, stream=True)))
    while not (await hand.bus.depth(hand.model)).waiting:
        await asyncio.sleep(0.01)
    asked.cancel()
    while (await hand.bus.depth(hand.model)).waiting:
        await asyncio.sleep(0.01)


async def test_a_full_queue_says_when_to_come_back(redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, drain_s=0, queue_limit=1) as site:
        asked = asyncio.create_task(site.post("/v1/chat/completions", ask(hand)))
        while not (await hand.bus.depth(hand.model)).waiting:
            await asyncio.sleep(0.01)
        refused = await site.post("/v1/chat/completions", ask(hand))
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 1
        await hand.tell("ok")
        assert (await asked).status_code == 200


async def test_fields_travel_to_the_worker_as_they_were_meant(site: Site, hand: Hand) -> None:
    messages = [
        {"role": "developer", "content": "be kind", "name": "boss"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    body = {
        "model": hand.model, "messages": messages, "temperature": 1, "top_p": 0.5, "top_k": -1, "min_p": 0.1,
        "repetition_penalty": 1.1, "presence_penalty": -2, "frequency_penalty": 2, "logit_bias": {"7": -100},
        "ignore_eos": True, "max_tokens": 9, "max_completion_tokens": 4, "stop": ["a", "b"], "tools": [],
        "chat_template_kwargs": {"enable_thinking": False}, "user": "u", "store": True, "made_up": 1, "tools_": None,
    }  # fmt: skip
    asked = asyncio.create_task(site.post("/v1/chat/completions", body))
    job = (await hand.tell("x")).job
    response = await asked
    assert job.messages == messages
    assert job.max_tokens == 4
    assert job.stop == ["a", "b"]
    assert job.ignore_eos
    assert job.template_args == {"enable_thinking": False}
    sampling = job.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (1, 0.5, 0, 0.1)
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) == (1.1, -2, 2)
    assert sampling.logit_bias == {7: -100}
    assert set(response.headers["x-queuechat-ignored"].split(",")) == {"made_up", "store", "tools_"}


async def test_the_wait_that_the_sdk_announces_becomes_the_deadline(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(site.sdk.with_options(timeout=17).chat.completions.create(**ask(hand)))
    assert (await hand.tell("x")).job.deadline_s == 17
    await asked


async def test_a_worker_that_dies_for_ever_is_a_504(site: Site, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.answering.LATE_S", 0.0)
    asked = asyncio.create_task(
        site.http.post("/v1/chat/completions", json=ask(hand), headers={"x-stainless-read-timeout": "0.2"})
    )
    await hand.one()
    response = await asked
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


async def test_a_request_id_is_taken_over_when_it_is_sane(site: Site, hand: Hand) -> None:
    for sent, kept in (("job-7", True), ("a b\tc", False), ("x" * 129, False)):
        asked = asyncio.create_task(
            site.http.post("/v1/chat/completions", json=ask(hand), headers={"x-request-id": sent})
        )
        claim = await hand.tell("x")
        response = await asked
        assert response.headers["x-request-id"] == (sent if kept else claim.job.id)
        assert response.headers["x-queuechat-request-id"] == claim.job.id


@pytest.mark.parametrize(
    ("asked", "given", "lane"), [("flex", "flex", "bulk"), ("priority", "default", "jobs"), (None, None, "jobs")]
)
async def test_a_service_tier_is_a_lane_and_is_told(
    site: Site, bus: Bus, model: str, asked: Any, given: str | None, lane: str
) -> None:
    async with Hand(bus, model, bulk=True) as hand:
        body: Any = {"model": model, "messages": [{"role": "user", "content": "x"}], "service_tier": asked}
        whole = asyncio.create_task(site.sdk.chat.completions.create(**body))
        assert (await hand.tell("x")).job.lane == lane
        assert (await whole).service_tier == given
        stream = asyncio.create_task(site.sdk.chat.completions.create(**body, stream=True))
        await hand.tell("x")
        assert {chunk.service_tier async for chunk in await stream} == {given}


async def test_what_is_not_stored_is_said(site: Site, hand: Hand) -> None:
    body = {"model": hand.model, "messages": [{"role": "user", "content": "x"}], "metadata": {"a": "b"}}
    for store, ignored in ((True, "store"), (False, None)):
        asked = asyncio.create_task(site.post("/v1/chat/completions", body | {"store": store}))
        await hand.tell("x")
        assert (await asked).headers.get("x-queuechat-ignored") == ignored
