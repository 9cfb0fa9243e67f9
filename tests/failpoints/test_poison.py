"""One request that kills every engine that takes it, among 31 innocents: it is put aside, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from queuechat.audit import audit
from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import End, Reason
from queuechat.roster import Census
from tests.failpoints.asking import Asker
from tests.failpoints.fleet import is_running
from tests.processes import Workers, census_when

_DEATHS = 3


async def dead_letter(client: Client, asker: Asker) -> None:
    """Ask the deadly question, and be told that there is no answer."""
    events = [event async for event in client.ask(asker.job("POISON", 60))]
    (end,) = (event for event in events if isinstance(event, End))
    assert (end.reason, end.offset) == (Reason.DEAD, 0)


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_a_poisonous_job_is_put_aside_and_its_batch_is_answered(
    bus: Bus, workers: Workers, model: str, number: int
) -> None:
    poisoned = {"QUEUECHAT_FAILPOINT": "admit.after~POISON:1:abort"}
    for _ in range(number):
        await workers.start("echo", model, "--echo-rate", "100", "--max-running", "32", **poisoned)
    async with Client(bus) as client:
        asker = Asker(client, model)
        innocents = [asker.job("Tell me", 60) for _ in range(31)]
        await asyncio.gather(asker.all(innocents[:16]), dead_letter(client, asker), asker.all(innocents[16:]))
    assert (await bus.depth(model)).dead == 1
    assert (await audit(bus, model)).faults == []
    cards = (await census_when(bus, lambda census: _all_alive(census, model, number))).workers
    assert sum(card.restarts for card in cards if card.model == model) <= _DEATHS


def _all_alive(census: Census, model: str, number: int) -> bool:
    """What the cards say is true now: each names a child that lives."""
    cards = [card for card in census.workers if card.model == model]
    return len(cards) == number and all(card.state == "ready" and is_running(card.pid) for card in cards)
