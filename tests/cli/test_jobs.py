"""Single jobs, as an operator sees them: what waits and runs, the life of one, and how it is stopped."""

from __future__ import annotations

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.protocol import choice_id
from tests.api.hand import Hand
from tests.cli.command import Cli
from tests.contract.steps import a_job, end, put, say, take, waiting


async def test_jobs_that_wait_and_run_are_listed(cli: Cli, hand: Hand) -> None:
    bus, model = hand.bus, hand.model
    running, waits = a_job(model, tenant="t-1", deadline_s=120), a_job(model)
    await put(bus, running)
    await say(bus, (await take(bus, model, "w-1"))[0], 5)
    await put(bus, waits)
    code, out, _ = await cli("jobs", "list", "--model", model)
    head, first, second = out.splitlines()
    assert (code, head.split()) == (0, ["ID", "STATE", "AGE", "WORKER", "TOKENS", "TENANT", "DEADLINE"])
    id, state, _, *rest = first.split()  # all but the age
    assert (id, state, rest) == (running.id, "running", ["w-1", "5", "t-1", "in", "2m"])
    assert second.split()[:2] == [waits.id, "waiting"]
    one, two = await cli.json("jobs", "list", "-m", model)
    assert (one["state"], one["worker"], one["tokens"], one["tenant"]) == ("running", "w-1", 5, "t-1")
    assert (two["id"], two["state"], two["worker"]) == (waits.id, "waiting", "")


async def test_a_job_that_lost_its_worker_waits_again(cli: Cli, hand: Hand) -> None:
    await waiting(hand.bus, hand.model, 1)
    await take(hand.bus, hand.model, "gone")
    await hand.bus.release(hand.model, "gone", crashed=True)
    _, out, _ = await cli("jobs", "list", "-m", hand.model)
    assert "waits again" in out
    assert "gone" not in out


async def test_an_empty_queue_is_said_to_be_one(cli: Cli, hand: Hand) -> None:
    assert await cli("jobs", "list", "-m", hand.model) == (0, "nothing waits or runs\n", "")
    assert await cli.json("jobs", "list", "-m", hand.model) == []


async def test_the_life_of_a_job_is_told_in_order_and_without_its_prompt(cli: Cli, hand: Hand) -> None:
    bus, model = hand.bus, hand.model
    (job,) = await waiting(bus, model, 1)
    await take(bus, model, "w-early")
    await bus.release(model, "w-early", crashed=False)
    await say(bus, (await take(bus, model, "w-killed"))[0], 3)
    await bus.release(model, "w-killed", crashed=True)
    (claim,) = await take(bus, model, "w-last")
    await say(bus, claim, 9)
    await end(bus, claim, 9)
    code, out, _ = await cli("jobs", "show", f"chatcmpl-{job.id}")
    assert code == 0
    head, facts, _, *lines = out.splitlines()
    assert head.split() == [job.id, "stop"]
    assert facts == f"model {model}, 9 tokens, epoch 3"
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "queued",
        "taken by w-early, at token 0",
        "handed back by w-early, at token 0",
        "taken by w-killed, at token 0",
        "first token from w-killed",
        "its worker w-killed was killed, at token 3",
        "taken by w-last, at token 3",
        "ended: stop, 9 tokens",
    ]
    times = [line.split()[0] for line in lines]
    assert times[0] == "+0.000s"
    assert times == sorted(times)
    assert "secret" not in out
    told = await cli.json("jobs", "show", f"cmpl-{job.id}")
    assert (told["state"], told["epoch"], told["tokens"], told["model"]) == ("stop", 3, 9, model)
    assert [moment["what"] for moment in told["moments"]][4] == "first token"


async def test_what_became_of_a_silent_and_of_a_dead_worker_is_told(cli: Cli, hand: Hand) -> None:
    bus, model = hand.bus, hand.model
    (job,) = await waiting(bus, model, 1)
    await take(bus, model, "w-dead")
    await bus.release(model, "w-dead", crashed=True, by_itself=True)
    await take(bus, model, "w-silent")
    await bus.connection.command("HSET", keys.job(model, job.id), "trail", "1 lapsed w-silent 4;2 taken w-heir 4;")
    _, out, _ = await cli("jobs", "show", job.id)
    assert "nothing was heard of w-silent any more, at token 4" in out
    assert "crashes in a row" in out


async def test_every_choice_of_a_request_is_a_job(cli: Cli, hand: Hand) -> None:
    first = a_job(hand.model)
    second = a_job(hand.model)
    second = type(second)(choice_id(first.id, 1), hand.model, prompt="x")
    await put(hand.bus, first, second)
    assert (await cli.json("jobs", "show", f"chatcmpl-{first.id}.1"))["id"] == f"{first.id}.1"


async def test_jobs_are_cancelled_one_by_one(cli: Cli, hand: Hand) -> None:
    bus, model = hand.bus, hand.model
    gone, kept, late = await waiting(bus, model, 3)
    code, out, err = await cli("jobs", "cancel", f"chatcmpl-{gone.id}", late.id, "nobody")
    assert (code, out) == (1, f"{gone.id} cancelled\n{late.id} cancelled\n")
    assert "no request 'nobody'" in err
    assert [seen.state for seen in await bus.watch(model, [gone.id, kept.id, late.id])] == [
        *("cancelled", "waiting", "cancelled")
    ]
    assert await cli("jobs", "cancel", gone.id) == (0, f"{gone.id} had ended already\n", "")


@pytest.mark.parametrize("command", [("jobs", "show", "nobody"), ("jobs", "cancel", "chatcmpl-nobody")])
async def test_an_id_of_nothing_is_said_to_be_one(cli: Cli, bus: Bus, command: tuple[str, ...]) -> None:
    code, out, err = await cli(*command)
    assert (code, out) == (1, "")
    assert "nobody'; requests are kept for 15 minutes" in err


async def test_an_unknown_model_is_answered_with_what_may_be_meant(cli: Cli, hand: Hand) -> None:
    code, _, err = await cli("jobs", "list", "-m", f"{hand.model}x")
    assert code == 1
    assert f"Did you mean '{hand.model}'?" in err
