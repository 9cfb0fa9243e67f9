"""`queuechat worker`: what it takes to start one, and how one is emptied from afar."""

from __future__ import annotations

import asyncio
import time

from queuechat import keys
from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import End, Job, Reason, WorkerCard, new_id
from tests.api.hand import Hand
from tests.cli.command import Cli
from tests.processes import Workers


async def test_a_worker_without_a_model_is_a_misuse(cli: Cli) -> None:
    code, out, err = await cli("worker")
    assert (code, out) == (2, "")
    assert "--model" in err


async def test_a_worker_is_drained_by_its_id_and_one_can_wait_for_it(
    cli: Cli, bus: Bus, workers: Workers, model: str
) -> None:
    command = await workers.start("echo", model, "--echo-rate", "200")
    (card,) = await workers.of(model)
    async with Client(bus) as client:
        answer = await client.submit([Job(new_id(), model, prompt="x", max_tokens=60)])
        await answer.take()
        code, out, _ = await cli("worker", "drain", card.id, "--wait")
        events = []
        while taken := await answer.take():
            events += [event for _, event in taken]
        await answer.close()
    assert (code, f"{card.id} is gone" in out) == (0, True)
    assert isinstance(events[-1], End)
    assert (events[-1].reason, events[-1].offset) == (Reason.LENGTH, 60)
    assert await workers.of(model) == []
    assert await command.process.wait() == 0


async def test_a_worker_hears_that_it_is_to_drain(cli: Cli, hand: Hand) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await hand.bus.listener.subscribe(keys.control(hand.name), heard.put_nowait)
    code, out, _ = await cli("worker", "drain", hand.name)
    assert (code, f"{hand.name} drains" in out) == (0, True)
    assert await heard.get() == b"drain"


async def test_a_worker_that_drains_is_not_told_again_which_would_stop_it_at_once(cli: Cli, hand: Hand) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    card = WorkerCard(f"{hand.name}-2", hand.model, state="draining")
    await hand.bus.listener.subscribe(keys.control(card.id), heard.put_nowait)
    await hand.bus.connection.command("SET", keys.worker_card(card.id), card.encode(), "EX", 60)
    await hand.bus.connection.command("ZADD", keys.WORKERS, int(time.time() * 1000), card.id)
    code, out, _ = await cli("worker", "drain", card.id)
    assert (code, out) == (0, f"{card.id} is draining already\n")
    await hand.bus.connection.command("PUBLISH", keys.control(card.id), "the end")
    assert await heard.get() == b"the end"
    await hand.bus.connection.command("DEL", keys.worker_card(card.id))


async def test_an_unknown_worker_is_answered_with_those_there_are(cli: Cli, hand: Hand) -> None:
    code, _, err = await cli("worker", "drain", hand.name[:-1])
    assert code == 1
    assert f"Did you mean '{hand.name}'? Live workers: " in err
