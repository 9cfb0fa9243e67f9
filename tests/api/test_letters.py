"""Dead letters through the API."""

from __future__ import annotations

from queuechat import keys
from queuechat.bus import Bus
from tests.api.hand import Hand
from tests.api.site import Site
from tests.api.test_refusals import check
from tests.api.test_requests import asked, events_of


async def test_a_dead_letter_is_listed_sent_again_and_dropped(site: Site, hand: Hand, bus: Bus) -> None:
    task, claim = await asked(site, hand)
    for _ in range(3):
        await bus.release(hand.model, hand.name, [claim.job.id], crashed=True, by_itself=True)
        if (await bus.watch(hand.model, [claim.job.id]))[0].state == "dead":
            break
        claim = await hand.one()
    failed = await task
    check(failed, 500, "job_failed")
    assert failed.headers["x-should-retry"] == "false"
    await site.house.roster.refresh()
    (letter,) = (await site.http.get("/v1/dead_letters", params={"model": hand.model})).json()["data"]
    assert (letter["id"], letter["crashes"]) == (claim.job.id, 3)
    assert (await site.http.post(f"/v1/dead_letters/{claim.job.id}/redrive")).json()["redriven"]
    check(await site.http.post(f"/v1/dead_letters/{claim.job.id}/redrive"), 404, "request_not_found")
    await hand.tell("better now")
    events = events_of((await site.http.get(f"/v1/requests/{claim.job.id}/events")).text)
    assert [(kind, event["text"]) for kind, _, event in events] == [("chunk", "better now"), ("end", "")]


async def test_a_dropped_letter_is_forgotten_with_its_request(site: Site, hand: Hand, bus: Bus) -> None:
    task, claim = await asked(site, hand)
    await bus.connection.command("HSET", keys.job(hand.model, claim.job.id), "crashes", 4)
    await bus.release(hand.model, hand.name, [claim.job.id], crashed=True, by_itself=True)
    await task
    await site.house.roster.refresh()
    assert (await site.http.delete(f"/v1/dead_letters/{claim.job.id}")).json()["deleted"]
    check(await site.http.get(f"/v1/requests/{claim.job.id}"), 404, "request_not_found")
