"""Dead letters, as an operator handles them."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from queuechat import keys
from queuechat.letters import list_letters
from queuechat.protocol import Job
from tests.api.hand import Hand
from tests.cli.command import Cli
from tests.contract.steps import buried, end, state, take, text


@pytest.fixture
async def letters(hand: Hand) -> list[Job]:
    """Two dead letters, the older one first."""
    return [await buried(hand.bus, hand.model, tokens=3), await buried(hand.bus, hand.model)]


async def left(hand: Hand) -> set[str]:
    return {letter.id for letter in await list_letters(hand.bus, [hand.model])}


async def test_letters_are_listed_newest_first_and_without_prompts(cli: Cli, hand: Hand, letters: list[Job]) -> None:
    older, newer = letters
    code, out, _ = await cli("dead", "list", "--model", hand.model)
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["ID", newer.id, older.id])
    rows = await cli.json("dead", "list", "-m", hand.model)
    assert [(row["id"], row["tokens"], row["crashes"]) for row in rows] == [(newer.id, 0, 3), (older.id, 3, 3)]
    assert "secret" not in out + str(rows)


async def test_letters_of_a_model_that_had_no_worker_for_days_are_still_found(
    cli: Cli, hand: Hand, letters: list[Job]
) -> None:
    long_ago = int((time.time() - 3 * keys.MODEL_S) * 1000)
    for task in hand._tasks:
        task.cancel()
    await hand.bus.connection.command("ZADD", keys.MODELS, long_ago, hand.model)
    await hand.bus.connection.command("DEL", keys.model_card(hand.model))
    _, out, _ = await cli("dead", "list")
    assert letters[0].id in out


async def test_a_letter_is_shown_with_the_life_of_its_job(cli: Cli, hand: Hand, letters: list[Job]) -> None:
    code, out, _ = await cli("dead", "show", f"chatcmpl-{letters[0].id}")
    assert code == 0
    assert "3 workers died in a row, the last one was victim" in out
    assert out.count("its worker victim died of itself, at token 3") == 3
    assert out.splitlines()[-1].endswith("ended: dead, 3 tokens")
    assert "secret" not in out
    assert (await cli.json("dead", "show", letters[0].id))["job"]["state"] == "dead"


async def test_a_letter_is_queued_again_and_answered_from_where_it_was(
    cli: Cli, hand: Hand, letters: list[Job]
) -> None:
    job, other = letters
    assert await cli("dead", "redrive", f"chatcmpl-{job.id}") == (0, f"{job.id} queued again\n", "")
    assert await left(hand) == {other.id}
    (claim,) = await take(hand.bus, hand.model)
    assert claim.offset == 3
    await end(hand.bus, claim, 3)
    assert await text(hand.bus, job) == " 0 1 2"
    _, out, _ = await cli("jobs", "show", job.id)
    assert "queued again by an operator, at token 3" in out


async def test_a_letter_whose_request_is_gone_cannot_be_queued_again(cli: Cli, hand: Hand, letters: list[Job]) -> None:
    await hand.bus.connection.command("DEL", keys.job(hand.model, letters[0].id))
    code, out, err = await cli("dead", "redrive", *(job.id for job in letters))
    assert (code, out) == (1, f"{letters[1].id} queued again\n")
    assert f"{letters[0].id} cannot be queued again" in err
    _, out, _ = await cli("dead", "show", letters[0].id)
    assert "its request is not kept any more" in out


async def test_letters_are_dropped(cli: Cli, hand: Hand, letters: list[Job]) -> None:
    assert await cli("dead", "drop", letters[0].id) == (0, "1 dropped\n", "")
    assert await left(hand) == {letters[1].id}
    assert await state(hand.bus, letters[0]) == ""


@pytest.mark.parametrize("verb", ["redrive", "drop"])
async def test_all_letters_of_a_model_go_at_once_after_a_yes(
    cli: Cli, hand: Hand, letters: list[Job], verb: str
) -> None:
    code, _, err = await cli("dead", verb, "--all", "--model", hand.model)
    assert (code, len(await left(hand))) == (2, 2)
    assert "add --yes" in err
    code, _, _ = await cli("dead", verb, "--all", "--model", hand.model, "--yes")
    assert (code, await left(hand)) == (0, set())
    assert {await state(hand.bus, job) for job in letters} == {"waiting" if verb == "redrive" else ""}
    assert (await cli("dead", verb, "--all", "--model", hand.model))[:2] == (0, "no dead letters\n")


@pytest.mark.parametrize(("said", "code", "stay"), [(b"n\n", 1, 2), (b"y\n", 0, 0)])
async def test_at_a_terminal_one_is_asked(
    cli: Cli, hand: Hand, letters: list[Job], said: bytes, code: int, stay: int
) -> None:
    terminal, its_end = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuechat", "dead", "drop", "--all", "-m", hand.model),
        env={"PATH": "/usr/bin:/bin", "QUEUECHAT_REDIS_URL": str(cli.url), "HOME": str(cli.folder)},
        stdin=its_end,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    os.close(its_end)
    os.write(terminal, said)
    out, _ = await process.communicate()
    os.close(terminal)
    assert "Drop 2 dead letters for good?" in out.decode()
    assert (process.returncode, len(await left(hand))) == (code, stay)


@pytest.mark.parametrize("verb", ["show", "redrive", "drop"])
async def test_an_unknown_letter_is_an_error_and_nothing_is_done(
    cli: Cli, hand: Hand, letters: list[Job], verb: str
) -> None:
    more = () if verb == "show" else (letters[0].id,)
    code, out, err = await cli("dead", verb, *more, "nobody")
    assert (code, out) == (1, "")
    assert "no dead letter 'nobody'; nothing was done. See: queuechat dead list" in err
    assert len(await left(hand)) == 2


@pytest.mark.parametrize("what", [(), ("--all", "x")])
async def test_it_must_be_said_which_letters(cli: Cli, hand: Hand, what: tuple[str, ...]) -> None:
    code, _, err = await cli("dead", "drop", *what)
    assert (code, "name the letters, or say --all" in err) == (2, True)
