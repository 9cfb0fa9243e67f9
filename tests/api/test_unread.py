"""What goes on without its reader costs its key what it would have cost with one, and counts until its end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from queuechat import keys
from tests.api.hand import Hand
from tests.api.responses import PATH, ask
from tests.api.test_doors import bearer
from tests.api.test_limits import key_for, own_url, served, tokens_left
from tests.api.test_refusals import chat, check

__all__ = ["own_url"]

KEY = {"Idempotency-Key": "same"}
READ = 7  # tokens of each prompt, as the worker of these tests counts
SAID = 900  # tokens; of 1,000 a minute so many are not earned again while a test lasts


async def places(hand: Hand, key: str) -> list[bytes]:
    found: list[bytes] = await hand.bus.connection.command("ZRANGE", keys.running(key), 0, -1)
    return found


async def settled(hand: Hand, key: str) -> float:
    async with asyncio.timeout(20):
        return await tokens_left(hand, key)


async def test_a_background_response_costs_what_it_wrote(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, tpm=1000)
        made = await site.http.post(PATH, json=ask(hand, background=True), headers=bearer(token))
        assert made.json()["status"] == "queued"
        await hand.tell(*(SAID * "a"))
        assert 1000 - READ - SAID <= await settled(hand, key) < 1000 - SAID / 2


async def test_a_background_response_gives_back_what_it_did_not_write(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, tpm=1000)
        await site.http.post(PATH, json=ask(hand, background=True, max_output_tokens=SAID), headers=bearer(token))
        await hand.tell("a")
        assert await settled(hand, key) >= 1000 - READ - 1


async def test_a_background_response_keeps_its_place_until_its_end(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, concurrency=1)
        made = await site.http.post(PATH, json=ask(hand, background=True), headers=bearer(token))
        id = made.json()["id"].removeprefix("resp_")
        first = await hand.bus.connection.command("ZSCORE", keys.running(key), id)
        async with asyncio.timeout(20):
            while await hand.bus.connection.command("ZSCORE", keys.running(key), id) == first:
                await asyncio.sleep(0.05)  # until it was renewed, though its request is over
        again = await site.http.post(PATH, json=ask(hand, background=True), headers=bearer(token))
        check(again, 429, "concurrency_limit")
        await hand.tell("a")
        async with asyncio.timeout(20):
            while await places(hand, key):
                await asyncio.sleep(0.05)


async def test_a_request_whose_reader_left_costs_what_was_written_after_that(own_url: str, model: str) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, tpm=1000)
        body = chat(model=model, stream=True)
        async with site.http.stream("POST", "/v1/chat/completions", json=body, headers=bearer(token) | KEY) as response:
            claim = await hand.one()
            await hand.say(claim, "a")
            async for line in response.aiter_lines():
                if '"a"' in line:
                    break
        await hand.say(claim, *((SAID - 1) * "b"))
        await hand.end(claim)
        assert 1000 - READ - SAID <= await settled(hand, key) < 1000 - SAID / 2


@pytest.mark.parametrize("other", [{}, {"max_tokens": SAID + 1}])
async def test_who_repeats_a_request_gets_nothing_back_of_what_it_paid(
    own_url: str, model: str, other: dict[str, Any]
) -> None:
    async with served(own_url, model) as (site, hand):
        key, token = await key_for(hand, tpm=1000)
        path, body, headers = "/v1/chat/completions", chat(model=model, max_tokens=SAID), bearer(token) | KEY
        first = asyncio.create_task(site.http.post(path, json=body, headers=headers))
        claim = await hand.one()
        if other:
            assert (await site.http.post(path, json=body | other, headers=headers)).status_code == 422
        else:
            with pytest.raises(httpx.ReadTimeout):  # it reads with the first, and leaves
                await site.http.post(path, json=body, headers=headers, timeout=1)
        await hand.say(claim, *(SAID * "a"))
        await hand.end(claim)
        assert (await first).status_code == 200
        assert 1000 - READ - SAID <= await settled(hand, key) < 1000 - SAID / 2
