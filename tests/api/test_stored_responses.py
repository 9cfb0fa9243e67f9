"""What is stored of responses: read again, gone on from, listed, deleted, and whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from api import recall
from queuechat import keys
from queuechat.audit import audit
from queuechat.bus import Bus
from queuechat.protocol import Reason
from queuechat.responses import Record, find_response, read_events
from tests.api.hand import Hand
from tests.api.responses import PATH, ask, events
from tests.api.site import Site, a_site
from tests.api.test_refusals import check


@pytest.fixture
async def own(redis_url: str) -> AsyncIterator[Site]:
    """A server whose settings the tests may lean on."""
    async with a_site(redis_url, drain_s=0, api_keys="one,two", response_ttl_s=60, body_limit=4000) as opened:
        opened.sdk.api_key = "one"
        opened.http.headers["authorization"] = "Bearer one"
        yield opened


async def made(site: Site, hand: Hand, *texts: str, reason: Reason = Reason.STOP, **fields: Any) -> dict[str, Any]:
    """A response, answered with these texts; `messages` of it are what the worker got."""
    asked = asyncio.create_task(site.post(PATH, ask(hand, **fields)))
    claim = await hand.tell(*texts, reason=reason)
    answer = await asked
    assert answer.status_code == 200, answer.text
    return {**answer.json(), "messages": claim.job.messages}


async def get(site: Site, id: str, **params: Any) -> Any:
    return (await site.http.get(f"{PATH}/{id}", params=params)).json()


async def test_a_response_is_read_again_as_it_was_answered(site: Site, hand: Hand) -> None:
    first = await made(site, hand, "Hello", " you", instructions="Be brief.", metadata={"a": "b"})
    del first["messages"]
    assert await get(site, first["id"]) == first


async def test_one_that_was_read_to_its_end_keeps_its_log_no_longer_than_others(own: Site, hand: Hand) -> None:
    bus = own.house.bus
    whole = (await made(own, hand, "Hello"))["id"].removeprefix("resp_")
    told = asyncio.create_task(hand.tell("Hello"))
    async with own.http.stream("POST", PATH, json=ask(hand, stream=True)) as response:
        streamed = (await events(response))[-1]["response"]["id"].removeprefix("resp_")
    await told
    for id in (whole, streamed):
        while (await bus.connection.command("PTTL", keys.log(hand.model, id))) > keys.LOG_S * 1000:
            await asyncio.sleep(0.01)  # who has the answer need not wait for what we store of it
        assert await bus.connection.command("HEXISTS", keys.response(id), "ended") == 1
        assert 0 < await bus.connection.command("PTTL", keys.response(id)) <= 660_000
        await bus.connection.command("DEL", keys.log(hand.model, id), keys.job(hand.model, id))
        body = await get(own, f"resp_{id}")
        assert (body["status"], body["output"][0]["content"][0]["text"]) == ("completed", "Hello")
        check(await own.http.get(f"{PATH}/resp_{id}", params={"stream": "true"}), 400, "invalid_value", "stream")


async def test_a_stored_log_outlives_its_job_and_audits_well(site: Site, hand: Hand) -> None:
    asked = await site.sdk.responses.create(model=hand.model, input="hello", background=True)
    id = (await hand.tell("Hello")).job.id
    assert asked.id == f"resp_{id}"
    bus = site.house.bus
    ttl_ms = await bus.connection.command("PTTL", keys.log(hand.model, id))
    assert ttl_ms >= await bus.connection.command("PTTL", keys.response(id)) > 80_000_000
    await bus.connection.command("DEL", keys.job(hand.model, id))  # as it does after 15 minutes
    assert (await audit(bus, hand.model)).faults == []
    assert (await site.sdk.responses.retrieve(asked.id)).output_text == "Hello"


async def test_a_chain_rebuilds_the_conversation_without_old_instructions(site: Site, hand: Hand) -> None:
    first = await made(site, hand, "Bern.", input="Capital of Switzerland?", instructions="Be brief.")
    second = await made(site, hand, "Rome.", input="Of Italy?", previous_response_id=first["id"])
    third = await made(
        site, hand, "Paris.", input="Of France?", previous_response_id=second["id"], instructions="Be kind."
    )
    assert second["previous_response_id"] == first["id"]
    assert third["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Capital of Switzerland?"},
        {"role": "assistant", "content": "Bern."},
        {"role": "user", "content": "Of Italy?"},
        {"role": "assistant", "content": "Rome."},
        {"role": "user", "content": "Of France?"},
    ]


async def test_an_item_may_be_named_instead_of_sent(site: Site, hand: Hand) -> None:
    first = await made(site, hand, "Bern.", input="Capital?")
    given = (await site.sdk.responses.input_items.list(first["id"])).data[0]
    items = [
        {"id": given.id},
        {"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": "?"},
    ]
    second = await made(site, hand, "So it is.", input=items)
    assert [turn["content"] for turn in second["messages"]] == ["Capital?", "Bern.", "?"]


async def test_a_chain_may_not_grow_over_the_size_of_a_body(own: Site, hand: Hand) -> None:
    first = await made(own, hand, "a" * 2500)
    second = await made(own, hand, "a", input="b" * 1000, previous_response_id=first["id"])
    answer = await own.post(PATH, ask(hand, previous_response_id=second["id"]))
    check(answer, 413, "request_too_large", "previous_response_id")


async def test_what_is_asked_counts_with_what_it_goes_on_from(own: Site, hand: Hand) -> None:
    first = await made(own, hand, "a" * 2000)
    answer = await own.post(PATH, ask(hand, input="b" * 1700, previous_response_id=first["id"]))
    check(answer, 413, "request_too_large", "previous_response_id")


async def test_items_that_are_referred_to_may_not_be_larger_than_a_body(own: Site, hand: Hand) -> None:
    first = await made(own, hand, "a" * 2500)
    again = [{"type": "item_reference", "id": first["output"][0]["id"]}] * 2
    check(await own.post(PATH, ask(hand, input=again)), 413, "request_too_large", "input[1].id")


async def test_a_response_that_many_references_name_is_read_once(
    site: Site, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await made(site, hand, "a")
    read: list[str] = []

    async def noted(bus: Bus, id: str, tenant: str) -> Record:
        read.append(id)
        return await find_response(bus, id, tenant)

    monkeypatch.setattr(recall, "find_response", noted)
    again = [{"type": "item_reference", "id": first["output"][0]["id"]}] * 500
    await made(site, hand, "b", input=again)
    assert read == [first["id"].removeprefix("resp_")]
    check(await site.post(PATH, ask(hand, input=again + again)), 400, "invalid_value", "input")


async def test_a_conversation_has_an_end(site: Site, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MAX_LINKS", 2)
    id = None
    for text in "abc":
        id = (await made(site, hand, text, previous_response_id=id))["id"]
    answer = await site.post(PATH, ask(hand, previous_response_id=id))
    check(answer, 400, "invalid_value", "previous_response_id")


async def test_only_what_has_an_answer_can_be_gone_on_from(site: Site, hand: Hand) -> None:
    asked = await site.sdk.responses.create(model=hand.model, input="hello", background=True)
    answer = await site.post(PATH, ask(hand, previous_response_id=asked.id))
    check(answer, 400, "invalid_value", "previous_response_id")
    await hand.tell("Hel", reason=Reason.LENGTH)
    second = await made(site, hand, "lo", previous_response_id=asked.id, input="go on")
    assert second["messages"][1] == {"role": "assistant", "content": "Hel"}


async def test_input_items_come_in_pages(site: Site, hand: Hand) -> None:
    items = [{"role": "user", "content": str(k)} for k in range(5)]
    id = (await made(site, hand, "a", input=items))["id"]
    pages: Any = site.sdk.responses.input_items.list(id, limit=2)
    assert [item.content[0].text async for item in pages] == ["4", "3", "2", "1", "0"]
    pages = site.sdk.responses.input_items.list(id, limit=2, order="asc")
    assert [item.content[0].text async for item in pages] == ["0", "1", "2", "3", "4"]
    check(await site.http.get(f"{PATH}/{id}/input_items?after=x"), 400, "invalid_value", "after")
    check(await site.http.get(f"{PATH}/{id}/input_items?limit=0"), 400, "invalid_value", "limit")


async def test_a_deleted_response_is_gone_with_all_that_it_said(site: Site, hand: Hand) -> None:
    id = (await made(site, hand, "Hello"))["id"]
    answer = await site.http.delete(f"{PATH}/{id}")
    assert answer.json() == {"id": id, "object": "response", "deleted": True}
    for ask_again in (site.http.get, site.http.delete):
        check(await ask_again(f"{PATH}/{id}"), 404, "response_not_found", None)
    check(
        await site.post(PATH, ask(hand, previous_response_id=id)),
        400, "previous_response_not_found", "previous_response_id",
    )  # fmt: skip
    bus, job = site.house.bus, id.removeprefix("resp_")
    assert await bus.connection.command("EXISTS", keys.log(hand.model, job), keys.job(hand.model, job)) == 0
    assert sorted(await bus.connection.command("HKEYS", keys.response(job))) == [b"deleted", b"tenant"]
    assert (await audit(bus, hand.model)).faults == []


async def test_one_that_runs_is_stopped_when_it_is_deleted(site: Site, hand: Hand) -> None:
    asked = await site.sdk.responses.create(model=hand.model, input="hello", background=True)
    claim = await hand.one()
    await hand.say(claim, "One")
    await site.sdk.responses.delete(asked.id)
    assert await hand.cancelled.get() == claim.job.id
    await hand.end(claim, Reason.CANCELLED)
    bus = site.house.bus
    assert 0 < await bus.connection.command("PTTL", keys.log(hand.model, claim.job.id)) <= keys.LOG_S * 1000
    with pytest.raises(openai.NotFoundError):
        await site.sdk.responses.retrieve(asked.id)


async def test_a_response_is_its_own_keys_alone(own: Site, hand: Hand) -> None:
    id = (await made(own, hand, "Hello"))["id"]
    other = {"authorization": "Bearer two"}
    asks = [("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
    for method, path in asks:
        answer = await own.http.request(method, f"{PATH}/{id}{path}", headers=other)
        check(answer, 404, "response_not_found", None)
    answer = await own.http.post(PATH, json=ask(hand, previous_response_id=id), headers=other)
    check(answer, 400, "previous_response_not_found", "previous_response_id")
    assert (await get(own, id))["status"] == "completed"


async def test_what_was_refused_leaves_nothing(redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, drain_s=0, queue_limit=1) as small:
        before = set(await small.house.bus.find_keys("qc:response:*"))
        waits = await small.sdk.responses.create(model=hand.model, input="hello", background=True)
        answer = await small.post(PATH, ask(hand))
        check(answer, 429, "queue_full", None)
        after = set(await small.house.bus.find_keys("qc:response:*"))
        assert after - before == {keys.response(waits.id.removeprefix("resp_"))}
        await small.sdk.responses.cancel(waits.id)


async def test_the_same_key_has_the_same_response(site: Site, hand: Hand) -> None:
    headers = {"Idempotency-Key": f"k-{hand.model}"}
    first = asyncio.create_task(site.http.post(PATH, json=ask(hand), headers=headers))
    claim = await hand.one()
    second = asyncio.create_task(site.http.post(PATH, json=ask(hand), headers=headers))
    await hand.say(claim, "Hello")
    await hand.end(claim)
    one, two = await first, await second
    for body in (one.json(), two.json()):
        body.pop("created_at")
    assert one.json()["id"] == two.json()["id"] == f"resp_{claim.job.id}"
    assert one.json()["output"] == two.json()["output"]
    assert {a.headers.get("idempotency-replayed") for a in (one, two)} == {None, "true"}
    found = await site.house.bus.find_keys("qc:response:*")
    assert keys.response(claim.job.id) in found


async def test_a_response_that_redis_has_lost_has_failed(site: Site, hand: Hand) -> None:
    asked = await site.sdk.responses.create(model=hand.model, input="hello", background=True)
    claim = await hand.tell("Hello")
    bus = site.house.bus
    record: Record = await find_response(bus, claim.job.id, "")
    assert len(await read_events(bus, record)) == 2
    await bus.connection.command("DEL", keys.log(hand.model, record.id), keys.job(hand.model, record.id))
    found = await site.sdk.responses.retrieve(asked.id)
    assert found.error is not None
    assert (found.status, found.error.code) == ("failed", "server_error")
