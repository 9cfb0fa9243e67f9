"""What a provider does wrong, or refuses: who is told, and when it is asked again. Pauses are those it asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Literal

import openai
import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import End, Job, new_id
from tests.api.site import Site
from tests.relay.provider import Provider, Reply, delta, refusing, saying, streaming
from tests.relay.relaying import ask, relaying
from workers.consumer import Consumer
from workers.engines import remote
from workers.engines.remote_trouble import PATIENCE_S, pause_s, wait_of

HI: list[Any] = [{"role": "user", "content": "Hi"}]
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "pause_s", lambda tries: 0.0)


@pytest.fixture
def entry(provider: Provider) -> dict[str, Any]:
    return {"api_base": f"{provider.url}/v1", "api_key": KEY, "retries": 2}


@pytest.fixture
async def relay(bus: Bus, model: str, entry: dict[str, Any]) -> AsyncIterator[Consumer]:
    async with relaying(bus, model, **entry) as consumer:
        yield consumer


async def content(site: Site, model: str) -> str:
    return str((await ask(site, model, HI)).choices[0].message.content)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_what_may_pass_is_tried_again(
    site: Site, relay: Consumer, model: str, provider: Provider, status: int
) -> None:
    await provider.reply(refusing(status), refusing(status), streaming(*saying("at last")))
    assert await content(site, model) == "at last"
    assert [request.body["messages"] for request in provider.asked] == [HI] * 3
    assert provider.asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_wait_that_the_provider_asks_for_is_kept_by_all(
    site: Site, relay: Consumer, model: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(relay.engine._pace, "hold", waits.append)  # type: ignore[attr-defined]
    await provider.reply(refusing(429, headers={"retry-after-ms": "20"}), streaming(*saying("x")))
    assert await content(site, model) == "x"
    assert waits == [0.02]


async def test_a_wait_that_is_too_long_is_not_waited_for(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(refusing(429, headers={"retry-after": str(PATIENCE_S + 1)}))
    with pytest.raises(openai.InternalServerError) as caught:
        await content(site, model)
    assert (caught.value.status_code, caught.value.code) == (503, "provider_busy")
    assert relay.engine.room() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("status", "ours", "code"), [(429, 503, "provider_busy"), (500, 502, "provider_failed")])
async def test_when_all_tries_failed_the_error_says_whose_fault_it_is(
    site: Site, relay: Consumer, model: str, provider: Provider, status: int, ours: int, code: str
) -> None:
    await provider.reply(*[refusing(status, f"internal words about {KEY}")] * 3)
    with pytest.raises(openai.InternalServerError) as caught:
        await content(site, model)
    assert (caught.value.status_code, caught.value.code) == (ours, code)
    assert "secret" not in str(caught.value)
    assert len(provider.asked) == 3


async def test_who_says_that_no_other_try_helps_is_believed(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(refusing(500, headers={"x-should-retry": "false"}))
    with pytest.raises(openai.InternalServerError):
        await content(site, model)
    assert len(provider.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_request_that_is_wrong_is_the_users_to_mend(
    site: Site, relay: Consumer, model: str, provider: Provider, status: int
) -> None:
    await provider.reply(refusing(status, "temperature does not go with this model", param="temperature", code="odd"))
    with pytest.raises(openai.BadRequestError, match="does not go with this model") as caught:
        await content(site, model)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "temperature")
    assert len(provider.asked) == 1


@pytest.mark.parametrize("status", [401, 402, 403, 404])
async def test_what_only_we_can_mend_is_said_without_secrets(
    site: Site, relay: Consumer, model: str, provider: Provider, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "workers")
    await provider.reply(refusing(status, f"Incorrect API key provided: {KEY}"))
    with pytest.raises(openai.InternalServerError) as caught:
        await content(site, model)
    assert (caught.value.status_code, caught.value.code) == (502, "provider_refused")
    assert "secret" not in str(caught.value) + caplog.text
    assert "Hi" not in caplog.text
    assert len(provider.asked) == 1


async def test_an_account_without_money_is_not_asked_again(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(refusing(429, code="insufficient_quota"))
    with pytest.raises(openai.InternalServerError) as caught:
        await content(site, model)
    assert caught.value.code == "provider_refused"


async def test_a_provider_that_is_away_is_asked_again(site: Site, bus: Bus, model: str) -> None:
    async with relaying(bus, model, api_base="http://127.0.0.1:1/v1", retries=1):
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as caught:
            await content(site, model)
    assert caught.value.code == "provider_failed"


@pytest.mark.parametrize(
    "broken",
    [
        Reply(cut=True),
        streaming(done=False),
        streaming(delta(role="assistant"), cut=True, done=False),
        streaming({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}),
        Reply(body=b"data: {nonsense\n\n"),
    ],
    ids=["no byte", "nothing", "cut", "an error", "no JSON"],
)
async def test_a_stream_that_breaks_before_its_first_word_begins_anew(
    site: Site, relay: Consumer, model: str, provider: Provider, broken: Reply
) -> None:
    await provider.reply(broken, streaming(*saying("whole")))
    assert await content(site, model) == "whole"
    assert len(provider.asked) == 2


async def test_a_stream_that_breaks_in_the_middle_is_an_error_and_nothing_is_said_twice(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(streaming(*saying("one", " two", reason=None, usage=None), done=False, cut=True))
    stream = await ask(site, model, HI, stream=True)
    texts: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert "".join(texts) == "one two"
    assert caught.value.code == "provider_failed"
    assert "ask again" in caught.value.message
    assert len(provider.asked) == 1


async def test_a_stream_that_breaks_in_the_middle_goes_on_where_the_provider_can(
    site: Site, bus: Bus, model: str, provider: Provider, entry: dict[str, Any]
) -> None:
    begun = saying("one", " two ", reason=None, usage=None)
    async with relaying(bus, model, **entry, resume="prefill"):
        await provider.reply(streaming(*begun, done=False, cut=True), streaming(*saying(" three", usage=(20, 2))))
        answer = await ask(site, model, HI, max_tokens=50)
    assert answer.choices[0].message.content == "one two three"
    second = provider.asked[1].body
    assert second["messages"] == [*HI, {"role": "assistant", "content": "one two"}]
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)
    assert second["max_tokens"] < provider.asked[0].body["max_tokens"] == 50
    assert answer.usage.completion_tokens == 2 + 2  # what was told again counts as written, about four bytes a token


async def test_calls_and_forms_are_not_gone_on_with(
    site: Site, bus: Bus, model: str, provider: Provider, entry: dict[str, Any]
) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
    async with relaying(bus, model, **entry, resume="prefill"):
        await provider.reply(streaming(delta(tool_calls=[call]), done=False, cut=True))
        with pytest.raises(openai.InternalServerError, match="cannot go on"):
            await ask(site, model, HI, tools=[{"type": "function", "function": {"name": "f"}}])
    assert len(provider.asked) == 1


async def test_a_completion_goes_on_by_itself(site: Site, relay: Consumer, model: str, provider: Provider) -> None:
    def text(text: str, reason: str | None = None) -> object:
        choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
        return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}

    await provider.reply(streaming(text(" upon"), done=False, cut=True), streaming(text(" a time", "stop")))
    answer = await site.sdk.completions.create(model=model, prompt="Once")
    assert answer.choices[0].text == " upon a time"
    assert provider.asked[1].body["prompt"] == "Once upon"


async def test_what_the_provider_withholds_is_an_error(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(streaming(*saying(reason="content_filter")))
    with pytest.raises(openai.BadRequestError) as caught:
        await content(site, model)
    assert caught.value.code == "content_filter"


async def test_a_refusal_is_told_as_one(site: Site, relay: Consumer, model: str, provider: Provider) -> None:
    await provider.reply(streaming(delta(refusal="I would"), delta(refusal=" rather not"), *saying()))
    message = (await ask(site, model, HI)).choices[0].message
    assert (message.content, message.refusal) == (None, "I would rather not")


async def test_an_answer_without_usage_is_charged_by_its_length(
    site: Site, relay: Consumer, model: str, provider: Provider
) -> None:
    await provider.reply(streaming(*saying("x" * 40, usage=None)))
    usage = (await ask(site, model, HI)).usage
    assert usage.completion_tokens == 10
    assert usage.prompt_tokens > 0


async def test_half_a_surrogate_pair_does_no_harm(site: Site, relay: Consumer, model: str, provider: Provider) -> None:
    events = streaming(*saying("HERE"))
    await provider.reply(Reply(body=events.body.replace(b"HERE", rb"\ud83d")))
    assert (await content(site, model)) in ("?", "\ufffd")


@pytest.mark.parametrize("lane", ["jobs", "bulk"])
async def test_no_more_is_taken_than_the_provider_may_be_asked_for(
    site: Site, bus: Bus, model: str, provider: Provider, entry: dict[str, Any], lane: Literal["jobs", "bulk"]
) -> None:
    async with relaying(bus, model, **entry, rpm=1) as consumer:
        await provider.reply(streaming(*saying("first")))
        assert await content(site, model) == "first"
        job = Job(new_id(), model, messages=HI, lane=lane)
        await bus.enqueue([job], limit=10, grace_s=0)
        await provider.reply(streaming(*saying("second")))
        turn = consumer._puller._claimer._turn
        consumer._puller.woken()
        while consumer._puller._claimer._turn == turn:
            await asyncio.sleep(0.01)
        depth = await bus.depth(model)
        assert depth.waiting + depth.bulk_waiting == 1
        consumer.engine._pace._clock = lambda: 10**9  # type: ignore[attr-defined]
        consumer._puller._wake.set()
        while len(provider.asked) < 2 or consumer.held:
            await asyncio.sleep(0.01)


async def test_a_job_that_makes_no_sense_ends_alone(bus: Bus, relay: Consumer, model: str) -> None:
    job = Job(new_id(), model, messages=[{"role": "user", "content": [{"type": "image"}]}])  # there is none
    async with Client(bus) as client:
        end = [event async for event in client.ask(job)][-1]
    assert isinstance(end, End)
    assert end.error is not None
    assert "cannot be passed on" in end.error.message
    assert relay.held == {}


def test_pauses_grow_and_differ() -> None:
    assert [0.375 * 2**tries <= pause_s(tries) <= 0.5 * 2**tries for tries in range(4)] == [True] * 4
    assert pause_s(50) <= 8
    assert len({pause_s(0) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "nan", "retry-after": "3"}, 3.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
    ],
)
def test_a_wait_is_read_in_all_its_forms(headers: dict[str, str], wait: float | None) -> None:
    assert wait_of(headers) == wait
