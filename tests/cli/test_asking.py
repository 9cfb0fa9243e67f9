"""Commands that ask: answers on standard output, everything else beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from queuechat import keys
from queuechat.client import with_choices
from queuechat.protocol import Failure, Job, Reason, choice_id, new_id
from tests.api.hand import Hand
from tests.cli.command import run
from tests.processes import Workers


async def test_a_question_is_answered_on_standard_output_and_the_footer_is_not_in_it(
    redis_url: str, workers: Workers, model: str, tmp_path: Path
) -> None:
    await workers.start("echo", model)
    asked = ("chat", "-m", model, "--max-tokens", "5", "--seed", "1")
    code, out, err = await run(*asked, "hello", url=redis_url, folder=tmp_path)
    assert (code, len(out.split())) == (0, 5)
    assert "5 tokens" in err
    _, piped, _ = await run(*asked, url=redis_url, folder=tmp_path, stdin=b"hello")
    assert piped == out


async def test_a_question_keeps_to_the_deadline_and_the_grace_of_the_settings(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    limits = {"QUEUECHAT_DEADLINE_S": "33", "QUEUECHAT_GRACE_S": "44"}
    asked = asyncio.create_task(run("chat", "-m", hand.model, "hi", url=redis_url, folder=tmp_path, more=limits))
    claim = await hand.one()
    grace = await hand.bus.connection.command("HGET", keys.job(hand.model, claim.job.id), "grace")
    assert (claim.job.deadline_s, grace) == (33, b"44000")
    await hand.end(claim)
    assert (await asked)[0] == 0


async def test_a_question_without_a_full_answer_ends_with_exit_code_one(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    asked = asyncio.create_task(run("chat", "-m", hand.model, "hi", url=redis_url, folder=tmp_path))
    claim = await hand.one()
    await hand.say(claim, "half")
    await hand.end(claim, Reason.ERROR, error=Failure("job_failed", "it broke"))
    code, out, err = await asked
    assert (code, out) == (1, "half\n")
    assert "[it broke]" in err


@pytest.mark.parametrize(("engine", "told"), [("hand", "\ufdd1Hm\ufdd0yes"), ("remote", "<think>Hm</think>\n\nyes")])
async def test_marks_are_read_in_answers_of_models_elsewhere_only(
    redis_url: str, hand: Hand, tmp_path: Path, engine: str, told: str
) -> None:
    hand.card = replace(hand.card, engine=engine)
    await hand.beat()
    asked = asyncio.create_task(run("chat", "-m", hand.model, "hi", url=redis_url, folder=tmp_path))
    await hand.tell("\ufdd1Hm", "\ufdd0yes")
    assert (await asked)[:2] == (0, f"{told}\n")


async def test_a_conversation_goes_on_without_the_question_that_failed(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    terminal, its_end = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuechat", "chat", "-m", hand.model),
        env={"PATH": "/usr/bin:/bin", "QUEUECHAT_REDIS_URL": redis_url, "HOME": str(tmp_path)},
        stdin=its_end,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(its_end)
    os.write(terminal, b"one\ntwo\ntwo\nthree\n\x04")
    await hand.tell("uno")
    claim = await hand.one()
    await hand.say(claim, "half")
    await hand.end(claim, Reason.ERROR, error=Failure("job_failed", "it broke"))
    await hand.tell("dos")
    last = await hand.tell("tres")
    assert await process.wait() == 0
    os.close(terminal)
    assert last.job.messages is not None
    assert [turn["content"] for turn in last.job.messages] == ["one", "uno", "two", "dos", "three"]


async def test_a_cancelled_request_is_cancelled_with_all_its_answers(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    id = new_id()
    jobs = with_choices(Job(id, hand.model, prompt="x"), 3, [choice_id(id, k) for k in range(3)])
    await hand.bus.enqueue(jobs, limit=0, grace_s=0)
    code, out, _ = await run("cancel", f"chatcmpl-{id}", url=redis_url, folder=tmp_path)
    assert (code, out) == (0, "cancelled\n")
    assert {seen.state for seen in await hand.bus.watch(hand.model, [job.id for job in jobs])} == {"cancelled"}
    code, out, _ = await run("cancel", id, url=redis_url, folder=tmp_path)
    assert (code, out) == (0, "had ended already\n")
