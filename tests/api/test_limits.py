"""What a key may: which models, how many requests and tokens a minute; as the official SDK sees it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from api.rating import span
from queuechat import keys
from queuechat.bus import Bus
from queuechat.credentials import add_key, change_key
from queuechat.protocol import Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_doors import bearer
from tests.api.test_refusals import chat, check


@pytest.fixture
async def own_url(redis_url: str) -> AsyncIterator[str]:
    """A database of this test's own: as soon as one key exists, all ask for one."""
    url = f"{redis_url}/{secrets.randbelow(4) + 2}"
    opened = await Bus(url).open()
    await opened.connection.command("FLUSHDB")
    yield url
    await opened.connection.command("FLUSHDB")
    await opened.close()


@contextlib.asynccontextmanager
async def served(url: str, model: str, **settings: object) -> AsyncIterator[tuple[Site, Hand]]:
    bus = await Bus(url).open()
    try:
        async with Hand(bus, model) as hand, a_site(url, drain_s=0, key_pepper="p", **settings) as site:
            yield site, hand
    finally:
        await bus.close()


async def key_for(hand: Hand, **limits: Any) -> tuple[str, str]:
    """Its id and its token."""
    key, token = await add_key(hand.bus, "p", "somebody", **limits)
    return key.id, token


def asking(site: Site, token: str) -> openai.AsyncOpenAI:
    return site.sdk.with_options(api_key=token)


def response_of(error: openai.APIStatusError) -> Any:
    """Of the SDK's own HTTP client, whichever that is."""
    return error.response


async def answered(site: Site, hand: Hand, token: str, *texts: str, **fields: Any) -> dict[str, str]:
    """The headers of a good answer."""
    ask: Any = asking(site, token).chat.completions.with_raw_response.create
    asked: asyncio.Task[Any] = asyncio.create_task(
        ask(model=hand.model, messages=[{"role": "user", "content": "x"}], **fields)
    )
    await hand.tell(*texts)
    return dict((await asked).headers)


async def tokens_left(hand: Hand, key: str) -> float:
    """When what was paid has been settled; a full bucket is not kept."""
    while await hand.bus.find_keys(f"qc:limit:{{{key}}}:paid:*"):
        await asyncio.sleep(0.01)
    left = await hand.bus.connection.command("HGET", keys.rate(key), "tokens")
    return float("inf" if left is None else left)


async def test_every_answer_tells_what_the_key_has_left(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, rpm=10, tpm=100_000)
        told = await answered(site, hand, token, "a", "b", max_tokens=1000)
        assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("10", "9")
        assert told["x-ratelimit-reset-requests"].endswith("s")
        assert told["x-ratelimit-limit-tokens"] == "100000"
        assert 98_900 <= int(told["x-ratelimit-remaining-tokens"]) <= 99_000
        assert await tokens_left(hand, key) >= 100_000 - 9 - 1  # 7 read, 2 written
        told = await answered(site, hand, token, "a", stream=True)
        assert told["x-ratelimit-remaining-requests"] == "8"
        plain = await answered(site, hand, (await key_for(hand))[1], "a")
        assert not [name for name in plain if name.startswith("x-ratelimit")]


async def test_one_request_too_many_is_a_429_that_the_sdk_understands(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        _, token = await key_for(hand, rpm=1)
        await answered(site, hand, token, "a")
        with pytest.raises(openai.RateLimitError) as refused:
            await asking(site, token).chat.completions.create(
                model=hand.model, messages=[{"role": "user", "content": "x"}]
            )
        response = response_of(refused.value)
        check(response, 429, "rate_limit_exceeded")
        assert response.json()["error"]["type"] == "rate_limit_error"
        assert 0 < int(response.headers["retry-after-ms"]) <= 60_000
        assert 0 < int(response.headers["retry-after"]) <= 60
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        for path, body in (("/v1/completions", {"prompt": "x"}), ("/v1/embeddings", {"input": "x"})):
            hand.card = type(hand.card)(model, embeds=True)
            await hand.beat()
            await site.house.roster.refresh()
            again = await site.http.post(path, json={"model": model, **body}, headers=bearer(token))
            check(again, 429, "rate_limit_exceeded")


async def test_tokens_that_were_paid_ahead_keep_others_out_until_they_are_given_back(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, tpm=1000)
        body = chat(model=model, max_tokens=900)
        first = asyncio.create_task(site.http.post("/v1/chat/completions", json=body, headers=bearer(token)))
        claim = await hand.one()
        message = check(
            await site.http.post("/v1/chat/completions", json=body, headers=bearer(token)), 429, "rate_limit_exceeded"
        )
        assert "1000 tokens a minute" in message
        await hand.say(claim, "a")
        await hand.end(claim)
        assert (await first).status_code == 200
        assert await tokens_left(hand, key) > 900
        await answered(site, hand, token, "a", max_tokens=900)


async def test_what_was_never_accepted_costs_no_tokens(own_url: str, model: str) -> None:
    async with served(own_url, model, queue_limit=1) as (site, hand):
        key, token = await key_for(hand, tpm=1000)
        answer = await site.http.post(
            "/v1/chat/completions", json=chat(model=model, n=2, max_tokens=100), headers=bearer(token)
        )
        assert answer.status_code == 400
        assert await tokens_left(hand, key) >= 1000


async def test_a_stream_that_is_left_costs_what_was_said_of_it(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, tpm=6)
        body = chat(model=model, stream=True, max_tokens=5000)
        async with site.http.stream("POST", "/v1/chat/completions", json=body, headers=bearer(token)) as response:
            claim = await hand.one()
            await hand.say(claim, *"abcdef")
            async for line in response.aiter_lines():
                if '"f"' in line:
                    break
        assert 6 - 30 < await tokens_left(hand, key) < 6 - 6 - 1  # six written, and a few read
        await hand.end(claim, Reason.CANCELLED)


async def test_what_a_provider_elsewhere_writes_costs_tokens_though_it_comes_in_bytes(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        hand.card = replace(hand.card, engine="remote")
        await hand.beat()
        await site.house.roster.refresh()
        key, token = await key_for(hand, tpm=6)
        body = chat(model=model, stream=True)
        async with site.http.stream("POST", "/v1/chat/completions", json=body, headers=bearer(token)) as response:
            claim = await hand.one()
            await hand.say(claim, *"a" * 39, "z")
            async for line in response.aiter_lines():
                if "z" in line:
                    break
        assert 6 - 25 < await tokens_left(hand, key) < 6 - 10  # forty bytes are about ten tokens
        await hand.end(claim, Reason.CANCELLED)


async def test_the_settings_hold_for_keys_that_bring_no_limits(own_url: str, model: str) -> None:
    async with served(own_url, model, key_rpm=3, key_tpm=5000) as (site, hand):
        told = await answered(site, hand, (await key_for(hand))[1], "a")
        assert told["x-ratelimit-limit-requests"] == "3"
        assert told["x-ratelimit-limit-tokens"] == "5000"
        told = await answered(site, hand, (await key_for(hand, rpm=8))[1], "a")
        assert told["x-ratelimit-limit-requests"] == "8"


async def test_a_key_sees_and_uses_the_models_of_its_scope(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand), Hand(hand.bus, "other-7b", aliases=["gpt-4o"]):
        await site.house.roster.refresh()
        _, some = await key_for(hand, models=["gpt-*", "nothing"])
        key, every = await key_for(hand)
        sdk = asking(site, some)
        assert {entry.id for entry in (await sdk.models.list()).data} == {"other-7b", "gpt-4o"}
        assert (await sdk.models.retrieve("gpt-4o")).id == "gpt-4o"
        with pytest.raises(openai.NotFoundError) as hidden:
            await sdk.models.retrieve(model)
        check(response_of(hidden.value), 404, "model_not_found", "model")
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
        check(response_of(denied.value), 403, "permission_denied", "model")
        with pytest.raises(openai.NotFoundError) as unknown:
            await sdk.completions.create(model=model + "x", prompt="x")
        assert model not in unknown.value.message.replace(model + "x", "")
        assert {entry.id for entry in (await asking(site, every).models.list()).data} == {model, "other-7b", "gpt-4o"}
        await change_key(hand.bus, key, models=[model])
        site.house.keys._stored.clear()
        assert [entry.id for entry in (await asking(site, every).models.list()).data] == [model]


async def test_many_wrong_keys_from_one_address_are_told_to_wait_and_good_ones_are_not(own_url: str) -> None:
    async with a_site(own_url, api_keys="alpha", wrong_keys=3) as site:
        for _ in range(3):
            check(await site.http.get("/v1/models", headers=bearer("beta")), 401, "invalid_api_key")
        late = await site.http.get("/v1/models", headers=bearer("beta"))
        check(late, 429, "rate_limit_exceeded")
        assert 0 < int(late.headers["retry-after"]) <= 60
        check(await site.http.get("/v1/models"), 401, "invalid_api_key")
        assert (await site.http.get("/v1/models", headers=bearer("alpha"))).status_code == 200


@pytest.mark.parametrize(
    ("ms", "said"), [(0, "0ms"), (12, "12ms"), (8640, "8.64s"), (60_000, "1m0s"), (360_000, "6m0s"), (61_500, "1m1.5s")]
)
def test_times_are_spelled_as_openai_spells_them(ms: int, said: str) -> None:
    assert span(ms) == said


async def test_a_key_can_ask_what_it_has_had_and_only_that(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        _, one = await key_for(hand)
        _, other = await key_for(hand)
        await answered(site, hand, one, "a", "b")
        await answered(site, hand, one, "a")
        await answered(site, hand, other, "a")
        told = (await site.http.get("/v1/usage?by=model", headers=bearer(one))).json()
        counts = {"requests": 2, "prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}
        assert told["data"] == [{"object": "usage", "model": model, **counts}]
        assert told["total"] == counts
        by_day = (await site.http.get("/v1/usage?since=2d", headers=bearer(one))).json()
        assert sum(row["requests"] for row in by_day["data"]) == 2
        assert all(row["day"] >= by_day["since"] for row in by_day["data"])
        for query, param in (("by=key", "by"), ("since=soon", "since")):
            check(await site.http.get(f"/v1/usage?{query}", headers=bearer(one)), 400, "invalid_value", param)
