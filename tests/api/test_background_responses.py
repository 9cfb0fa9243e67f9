"""Responses that nobody has to wait for: queued, looked at, streamed again, cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuechat import keys
from queuechat.protocol import Failure, Reason
from tests.api.hand import Hand
from tests.api.responses import CALL, PATH, TOOLS, ask, cut, events, events_of, kinds
from tests.api.site import Site, a_site
from tests.api.test_refusals import check


async def create(site: Site, hand: Hand, **fields: Any) -> str:
    return str((await site.sdk.responses.create(model=hand.model, input="hello", background=True, **fields)).id)


async def replay(site: Site, id: str, **params: Any) -> list[dict[str, Any]]:
    async with site.http.stream("GET", f"{PATH}/{id}", params={"stream": "true", **params}) as response:
        return await events(response)


async def test_its_status_is_told_truthfully_all_the_way(site: Site, hand: Hand) -> None:
    made = await site.sdk.responses.create(model=hand.model, input="hello", background=True)
    assert (made.status, made.output, made.background) == ("queued", [], True)
    assert (await site.sdk.responses.retrieve(made.id)).status == "queued"
    claim = await hand.one()
    await hand.say(claim, "Hello")
    assert (await site.sdk.responses.retrieve(made.id)).status == "in_progress"
    await hand.end(claim)
    done = await site.sdk.responses.retrieve(made.id)
    assert (done.status, done.output_text, done.completed_at is not None) == ("completed", "Hello", True)
    assert await site.sdk.responses.retrieve(made.id) == done


async def test_it_needs_no_reader_until_its_deadline(redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, drain_s=0, grace_s=0.05, background_deadline_s=1234) as own:
        id = (await create(own, hand)).removeprefix("resp_")
    claim = await hand.one()
    assert claim.left_ms > 1_000_000
    grace = await hand.bus.connection.command("HGET", keys.job(hand.model, id), "grace")
    assert grace == b"0"  # for ever


async def test_a_stream_says_at_once_that_it_is_queued(site: Site, hand: Hand) -> None:
    async with site.http.stream("POST", PATH, json=ask(hand, background=True, stream=True)) as response:
        text = ""
        async for part in response.aiter_text():
            text += part
            if "response.queued" in text:
                break
        id = events_of(text)[0]["response"]["id"]
    assert kinds(events_of(text)) == ["created", "queued"]
    assert [event["response"]["status"] for event in events_of(text)] == ["queued", "queued"]
    await hand.tell("Hello")  # it goes on though its reader has left
    assert (await site.sdk.responses.retrieve(id)).output_text == "Hello"


async def test_every_reader_on_every_server_has_the_same_events(site: Site, redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, drain_s=0) as other:
        async with asyncio.TaskGroup() as group:
            live = group.create_task(first_reader(site, hand))
            claim = await hand.one()
            id = f"resp_{claim.job.id}"
            await hand.say(claim, "One", "", " two")
            joined = group.create_task(replay(other, id))
            for word in (" three", " four", "", " five"):
                await hand.say(claim, word)
                await asyncio.sleep(0)
            await hand.end(claim, text="!")
        again = await replay(site, id)
        assert live.result() == joined.result() == again
        await site.house.bus.connection.command("DEL", keys.job(hand.model, claim.job.id))  # as after 15 minutes
        assert await replay(other, id) == again
    assert [event["sequence_number"] for event in again] == list(range(len(again)))
    assert kinds(again)[:3] == ["created", "queued", "in_progress"]
    deltas = [event["delta"] for event in again if event["type"] == "response.output_text.delta"]
    assert deltas == ["One", " two", " three", " four", " five", "!"]


async def first_reader(site: Site, hand: Hand, url: str = "") -> list[dict[str, Any]]:
    async with site.http.stream("POST", url + PATH, json=ask(hand, background=True, stream=True)) as response:
        return await events(response)


async def test_calls_and_thoughts_are_replayed_the_same(site: Site, bus: Any, model: str) -> None:
    async with Hand(bus, model, tool_format="hermes", reasoning="think") as hand:
        told = asyncio.create_task(hand.tell(*cut(f"<think>Hm</think>So:\n{CALL}", 4)))
        body = ask(hand, background=True, stream=True, tools=TOOLS)
        async with site.http.stream("POST", PATH, json=body) as response:
            live = await events(response)
        await told
        assert await replay(site, live[0]["response"]["id"]) == live
        assert [item["type"] for item in live[-1]["response"]["output"]] == ["reasoning", "message", "function_call"]


async def test_a_reader_goes_on_after_any_event(site: Site, hand: Hand) -> None:
    id = await create(site, hand)
    await hand.tell("One", " two", " three")
    whole = await replay(site, id)
    for event in whole:
        number = event["sequence_number"]
        assert await replay(site, id, starting_after=number) == whole[number + 1 :]
    assert await replay(site, id, starting_after=99) == []
    async with site.sdk.responses.stream(response_id=id, starting_after=4) as stream:
        seen = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()
    assert seen == list(range(5, len(whole)))
    assert final.output_text == "One two three"


async def test_a_stream_is_taken_up_with_the_sdk_from_another_server(site: Site, redis_url: str, hand: Hand) -> None:
    seen = []
    async with a_site(redis_url, drain_s=0) as other:
        stream = await other.sdk.responses.create(model=hand.model, input="hello", background=True, stream=True)
        claim = await hand.one()
        await hand.say(claim, "One", " two")
        async for event in stream:
            seen.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                break
        await stream.close()
    await hand.say(claim, " three")
    await hand.end(claim)
    id = f"resp_{claim.job.id}"
    rest = await site.sdk.responses.retrieve(id, stream=True, starting_after=seen[-1])
    seen += [event.sequence_number async for event in rest]
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("running", [False, True], ids=["queued", "running"])
async def test_cancelling_stops_it_and_may_be_repeated(site: Site, hand: Hand, running: bool) -> None:
    id = await create(site, hand)
    if running:
        claim = await hand.one()
        await hand.say(claim, "One")

        async def stop() -> None:
            assert await hand.cancelled.get() == claim.job.id
            await hand.end(claim, Reason.CANCELLED)

        stopping = asyncio.create_task(stop())
    first = await site.sdk.responses.cancel(id)
    assert first.status == "cancelled"
    assert first.output_text == ("One" if running else "")
    assert await site.sdk.responses.cancel(id) == first
    assert (await site.sdk.responses.retrieve(id)).status == "cancelled"
    told = await replay(site, id)
    assert kinds(told)[-1] == "incomplete"
    assert told[-1]["response"]["status"] == "cancelled"
    assert ("in_progress" in kinds(told)) is running
    if running:
        await stopping


async def test_cancelling_what_has_ended_changes_nothing(site: Site, hand: Hand) -> None:
    id = await create(site, hand)
    await hand.tell("Hello")
    assert (await site.sdk.responses.cancel(id)).status == "completed"


async def test_a_bad_prompt_is_a_failed_response(site: Site, hand: Hand) -> None:
    async def fail() -> None:
        claim = await hand.one()
        await hand.end(claim, Reason.ERROR, error=Failure("context_length_exceeded", "too long", "input"))

    told = asyncio.create_task(fail())
    live = await first_reader(site, hand)
    await told
    final = live[-1]["response"]
    assert (live[-1]["type"], final["status"]) == ("response.failed", "failed")
    assert final["error"] == {"code": "invalid_prompt", "message": "too long", "param": "input"}
    assert await replay(site, final["id"]) == live


async def test_an_end_that_nobody_may_hear_of_is_an_error_event_that_repeats_a_number(
    redis_url: str, hand: Hand, site: Site
) -> None:
    async with a_site(redis_url, drain_s=0) as other:
        reading = asyncio.create_task(first_reader(site, hand, other.url))
        claim = await hand.one()
        await hand.say(claim, "One")
        id = f"resp_{claim.job.id}"
        while (await site.http.get(f"{PATH}/{id}")).json()["status"] != "in_progress":
            await asyncio.sleep(0.01)
    told = await reading
    assert (told[-1]["type"], told[-1]["code"]) == ("error", "server_draining")
    assert told[-1]["sequence_number"] == told[-2]["sequence_number"]
    await hand.say(claim, " two")
    await hand.end(claim)
    rest = await replay(site, id, starting_after=told[-1]["sequence_number"])
    assert [event["sequence_number"] for event in told[:-1] + rest] == list(range(len(told) - 1 + len(rest)))
    assert rest[-1]["response"]["output"][0]["content"][0]["text"] == "One two"


@pytest.mark.parametrize(
    ("params", "param"),
    [({"stream": "maybe"}, "stream"), ({"stream": "true", "starting_after": "x"}, "starting_after")],
)
async def test_a_place_that_makes_no_sense_is_refused(site: Site, hand: Hand, params: Any, param: str) -> None:
    id = await create(site, hand)
    await hand.tell("Hello")
    check(await site.http.get(f"{PATH}/{id}", params=params), 400, "invalid_value", param)
