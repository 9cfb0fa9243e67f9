"""A request after it was queued: read again from any place, from any server; looked at, stopped, sent again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from queuechat.bus import Bus, Claim
from queuechat.credentials import add_key, revoke_key
from queuechat.protocol import Reason
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_refusals import chat, check

Event = tuple[str, str, dict[str, Any]]


def events_of(text: str) -> list[Event]:
    """(event, id, data) of each server-sent event; comments are not events."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


@contextlib.asynccontextmanager
async def reading(site: Site, path: str, **options: Any) -> AsyncIterator[AsyncIterator[Event]]:
    """The events as they come."""

    async def live(response: httpx.Response) -> AsyncIterator[Event]:
        block = ""
        async for line in response.aiter_lines():
            if line:
                block += line + "\n"
            elif block:
                for event in events_of(block):
                    yield event
                block = ""

    async with site.http.stream("GET", path, **options) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream"
        yield live(response)


async def asked(
    site: Site, hand: Hand, key: str | None = None, **fields: Any
) -> tuple[asyncio.Task[httpx.Response], Claim]:
    """A request on its way, and its claim."""
    headers = {"Idempotency-Key": key} if key else {}
    task = asyncio.create_task(
        site.http.post("/v1/chat/completions", json=chat(model=hand.model, **fields), headers=headers)
    )
    return task, await hand.one()


async def post(site: Site, hand: Hand, headers: dict[str, str]) -> httpx.Response:
    return await site.http.post("/v1/chat/completions", json=chat(model=hand.model), headers=headers)


def content(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


async def test_an_answer_is_read_again_from_the_beginning_while_it_runs_and_after_it(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand)
    await hand.say(claim, "one", " two")
    path = f"/v1/requests/{claim.job.id}/events"
    async with reading(site, path) as events:
        seen = [await anext(events), await anext(events)]
        assert [(kind, event["offset"], event["text"]) for kind, _, event in seen] == [
            ("chunk", 0, "one"),
            ("chunk", 1, " two"),
        ]
        await hand.say(claim, " three")
        await hand.end(claim, text=".")
        seen += [event async for event in events]
    assert (seen[-1][0], seen[-1][2]["reason"], seen[-1][2]["text"]) == ("end", "stop", ".")
    assert content(await task) == "one two three."
    assert events_of((await site.http.get(path)).text) == seen


async def test_a_reader_goes_on_after_the_last_event_that_it_had(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand)
    await hand.say(claim, "one", " two", " three")
    await hand.end(claim)
    await task
    path = f"/v1/requests/chatcmpl-{claim.job.id}/events"
    whole = events_of((await site.http.get(path)).text)
    by_header = events_of((await site.http.get(path, headers={"Last-Event-ID": whole[1][1]})).text)
    by_query = events_of((await site.http.get(path, params={"starting_after": 2})).text)
    assert by_header == by_query == whole[2:]
    assert events_of((await site.http.get(path, headers={"Last-Event-ID": whole[2][1]})).text) == whole[3:]


async def test_a_reader_who_has_the_end_is_told_to_stop_asking(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand)
    await hand.say(claim, "one")
    await hand.end(claim)
    await task
    path = f"/v1/requests/{claim.job.id}/events"
    last = events_of((await site.http.get(path)).text)[-1]
    again = await site.http.get(path, headers={"Last-Event-ID": last[1]})
    assert (last[0], again.status_code, again.content) == ("end", 204, b"")


async def test_a_reader_goes_on_deep_in_a_long_answer(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand)
    await hand.say(claim, *(f" {number}" for number in range(1100)))  # the log is read in pages
    await hand.end(claim)
    await task
    path = f"/v1/requests/{claim.job.id}/events"
    rest = events_of((await site.http.get(path, params={"starting_after": 1050})).text)
    assert "".join(body["text"] for _, _, body in rest[:-1]) == "".join(f" {n}" for n in range(1050, 1100))
    assert rest[-1][0] == "end"


@pytest.mark.parametrize(
    ("place", "status", "code", "param"),
    [
        ("2.0011223344556677", 422, "resume_mismatch", None),
        ("9", 422, "resume_mismatch", None),
        ("-1", 400, "invalid_value", "starting_after"),
        ("1.zz", 400, "invalid_value", "starting_after"),
    ],
)
async def test_a_place_that_is_not_of_this_stream_is_refused(
    site: Site, hand: Hand, place: str, status: int, code: str, param: str | None
) -> None:
    task, claim = await asked(site, hand)
    await hand.say(claim, "one", " two")
    await hand.end(claim)
    await task
    check(await site.http.get(f"/v1/requests/{claim.job.id}/events?starting_after={place}"), status, code, param)


@pytest.mark.parametrize("id", ["nobody", "0" * 32, "chatcmpl-" + "0" * 32])
async def test_a_request_that_is_not_there_is_a_404(site: Site, id: str) -> None:
    for path in (f"/v1/requests/{id}", f"/v1/requests/{id}/events"):
        check(await site.http.get(path), 404, "request_not_found")
    check(await site.http.post(f"/v1/requests/{id}/cancel"), 404, "request_not_found")


async def test_a_reader_that_leaves_stops_nothing(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand)
    await hand.say(claim, "one")
    async with reading(site, f"/v1/requests/{claim.job.id}/events") as events:
        await anext(events)
    await hand.say(claim, " two")
    await hand.end(claim)
    assert content(await task) == "one two"
    assert hand.cancelled.empty()


async def test_a_request_shows_its_life_without_its_prompt(site: Site, hand: Hand, bus: Bus) -> None:
    task, claim = await asked(site, hand)
    await hand.say(claim, "one")
    await bus.release(hand.model, hand.name, [claim.job.id], crashed=True)
    claim = await hand.one()
    await hand.say(claim, " two")
    await hand.end(claim)
    await task
    response = await site.http.get(f"/v1/requests/{claim.job.id}")
    shown = response.json()
    assert [moment["what"] for moment in shown["moments"]] == [
        "queued",
        "taken",
        "first token",
        "killed",
        "taken",
        "stop",
    ]
    assert [moment["offset"] for moment in shown["moments"]] == [0, 0, 1, 1, 1, 2]
    assert (shown["state"], shown["tokens"], shown["epoch"], shown["model"]) == ("stop", 2, 2, hand.model)
    assert '"x"' not in response.text


async def test_a_request_is_stopped_by_anyone_who_knows_its_id(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand)
    answer = await site.http.post(f"/v1/requests/{claim.job.id}/cancel")
    assert answer.json() == {"object": "request", "id": claim.job.id, "cancelled": True}
    assert await hand.cancelled.get() == claim.job.id
    await hand.end(claim)
    await task
    assert not (await site.http.post(f"/v1/requests/{claim.job.id}/cancel")).json()["cancelled"]


async def test_one_choice_is_stopped_by_its_own_id_and_all_by_the_requests(site: Site, hand: Hand) -> None:
    payload = chat(model=hand.model, n=3)
    task = asyncio.create_task(site.http.post("/v1/chat/completions", json=payload))
    claims = {claim.job.id: claim for claim in await hand.claim(3)}
    id = min(claims, key=len)
    assert (await site.http.post(f"/v1/requests/{id}.2/cancel")).json()["cancelled"]
    assert await hand.cancelled.get() == f"{id}.2"
    assert (await site.http.post(f"/v1/requests/{id}/cancel")).json()["cancelled"]
    assert {await hand.cancelled.get() for _ in range(3)} == set(claims)
    for claim in claims.values():
        await hand.end(claim, Reason.CANCELLED)
    assert (await task).json()["error"]["code"] == "request_cancelled"


async def test_the_same_post_with_the_same_key_has_the_same_answer_without_another_generation(
    site: Site, hand: Hand
) -> None:
    task, claim = await asked(site, hand, "key-1", seed=1)
    again = asyncio.create_task(
        site.http.post(
            "/v1/chat/completions", json=chat(seed=1, model=hand.model), headers={"Idempotency-Key": "key-1"}
        )
    )
    await hand.say(claim, "one", " two")
    await hand.end(claim)
    first, second = await task, await again
    third = await site.http.post(
        "/v1/chat/completions", json=chat(model=hand.model, seed=1), headers={"Idempotency-Key": "key-1"}
    )
    assert content(first) == content(second) == content(third) == "one two"
    assert [r.headers.get("idempotency-replayed") for r in (first, second, third)] == [None, "true", "true"]
    assert {r.headers["x-queuechat-request-id"] for r in (first, second, third)} == {claim.job.id}
    assert {r.json()["id"] for r in (first, second, third)} == {f"chatcmpl-{claim.job.id}"}


async def test_all_choices_are_replayed_as_a_stream(site: Site, hand: Hand) -> None:
    body, headers = chat(model=hand.model, n=2, stream=True), {"Idempotency-Key": "key-n"}
    first = asyncio.create_task(site.http.post("/v1/chat/completions", json=body, headers=headers))
    for claim in await hand.claim(2):
        await hand.say(claim, f"choice {claim.job.sampling.choice}")
        await hand.end(claim)
    frames = [line for line in (await first).text.splitlines() if line.startswith("data: {")]
    again = await site.http.post("/v1/chat/completions", json=body, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    replayed = [json.loads(line[6:])["choices"][0] for line in again.text.splitlines() if line.startswith("data: {")]
    texts = ["".join(c["delta"].get("content", "") for c in replayed if c["index"] == k) for k in (0, 1)]
    assert texts == ["choice 0", "choice 1"]
    assert len(frames) == len(replayed)


async def test_the_same_key_with_another_body_or_another_endpoint_is_a_422(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand, "key-2")
    headers = {"Idempotency-Key": "key-2"}
    for path, body in (
        ("/v1/chat/completions", chat(model=hand.model, temperature=0.5)),
        ("/v1/completions", {"model": hand.model, "prompt": "x"}),
    ):
        check(await site.http.post(path, json=body, headers=headers), 422, "idempotency_mismatch")
    await hand.end(claim)
    await task


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_that_cannot_be_one_is_refused(site: Site, hand: Hand, key: str) -> None:
    response = await site.http.post(
        "/v1/chat/completions", json=chat(model=hand.model), headers={"Idempotency-Key": key}
    )
    check(response, 400, "invalid_value", "Idempotency-Key")


async def test_who_leaves_with_a_key_can_come_back_and_who_leaves_without_has_cancelled(site: Site, hand: Hand) -> None:
    task, claim = await asked(site, hand, "key-3")
    task.cancel()
    bare, other = await asked(site, hand)
    bare.cancel()
    assert await hand.cancelled.get() == other.job.id
    await hand.say(claim, "still here")
    await hand.end(claim)
    again = await site.http.post(
        "/v1/chat/completions", json=chat(model=hand.model), headers={"Idempotency-Key": "key-3"}
    )
    assert content(again) == "still here"


async def test_requests_keys_and_letters_are_their_owners_alone(redis_url: str, bus: Bus, hand: Hand) -> None:
    async with a_site(redis_url, require_key=True, api_keys="alpha,beta") as site:
        alpha, beta = ({"authorization": f"Bearer {token}", "Idempotency-Key": "same"} for token in ("alpha", "beta"))
        tasks = [asyncio.create_task(post(site, hand, headers)) for headers in (alpha, beta)]
        claims = await hand.claim(2)
        assert len({claim.job.tenant for claim in claims}) == 2
        mine = claims[0] if claims[0].job.tenant != claims[1].job.tenant else claims[1]
        seen = [(await site.http.get(f"/v1/requests/{mine.job.id}", headers=h)).status_code for h in (alpha, beta)]
        assert sorted(seen) == [200, 404]
        for claim in claims:
            await hand.end(claim)
        await asyncio.gather(*tasks)


@pytest.fixture
async def narrow(bus: Bus) -> AsyncIterator[dict[str, str]]:
    """The headers of an API key that may have one request at a time."""
    key, token = await add_key(bus, "", "narrow", concurrency=1)
    yield {"authorization": f"Bearer {token}"}
    await revoke_key(bus, key.id)


async def test_a_key_has_no_more_requests_at_a_time_than_it_may(
    redis_url: str, hand: Hand, narrow: dict[str, str]
) -> None:
    async with a_site(redis_url, require_key=True) as site:
        running = asyncio.create_task(post(site, hand, narrow))
        claim = await hand.one()
        refused = await post(site, hand, narrow)
        check(refused, 429, "concurrency_limit")
        assert refused.headers["retry-after"]
        await hand.end(claim)
        await running
        free = asyncio.create_task(post(site, hand, narrow))
        await hand.tell("there is room again")
        assert (await free).status_code == 200
