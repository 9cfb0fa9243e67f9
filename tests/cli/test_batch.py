"""queuechat batch, as it is typed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuechat.batches import Batch, add_batch, get_batch, new_batch_id
from queuechat.bus import Bus, Claim
from queuechat.errors import BatchNotFound
from queuechat.protocol import Reason
from tests.api.hand import Hand
from tests.cli.command import Cli


@pytest.fixture
async def hand(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model, bulk=True) as opened:
        yield opened


def write(path: Path, model: str, count: int) -> Path:
    rows = (
        {
            "custom_id": f"line-{k}",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"model": model if k != 3 else "nobody", "prompt": str(k)},
        }
        for k in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def names(path: Path) -> list[str]:
    return sorted(json.loads(line)["custom_id"] for line in path.read_text().splitlines())


async def answer(hand: Hand, claim: Claim) -> None:
    await hand.say(claim, f"<{claim.job.prompt}>")
    await hand.end(claim)


async def test_a_file_is_run_and_run_again_asks_only_what_is_missing(cli: Cli, hand: Hand, tmp_path: Path) -> None:
    asked: list[object] = []

    async def noted(hand: Hand, claim: Claim) -> None:
        asked.append(claim.job.prompt)
        assert claim.job.lane == "bulk"
        await answer(hand, claim)

    hand.always(noted)
    source, target = write(tmp_path / "in", hand.model, 6), tmp_path / "out"
    code, out, _ = await cli("batch", "run", str(source), str(target))
    assert (code, out.split(":")[0]) == (1, "5 answered, 1 failed, 0 left")
    assert names(target) == [f"line-{k}" for k in range(6)]
    records = target.read_text().splitlines(keepends=True)
    target.write_text("".join(records[:4]) + records[4][:-10])  # a crash in the middle of a line
    before = len(asked)
    await cli("batch", "run", str(source), str(target))
    assert names(target) == [f"line-{k}" for k in range(6)]
    assert len(asked) - before <= 2
    texts = [json.loads(line)["response"]["body"] for line in target.read_text().splitlines()]
    assert sorted(body["choices"][0]["text"] for body in texts if "choices" in body) == [
        "<0>",
        "<1>",
        "<2>",
        "<4>",
        "<5>",
    ]


async def test_ctrl_c_cancels_what_runs_and_keeps_what_there_is(cli: Cli, bus: Bus, hand: Hand, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in", hand.model, 3), tmp_path / "out"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuechat", "batch", "run", str(source), str(target), "--window", "2"),
        env={**os.environ, "QUEUECHAT_REDIS_URL": str(cli.url)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    first, second = await hand.claim(2)
    await answer(hand, first)
    third = await hand.one()
    process.send_signal(signal.SIGINT)
    stopped = {await hand.cancelled.get(), await hand.cancelled.get()}
    assert stopped == {second.job.id, third.job.id}
    for claim in (second, third):
        await hand.end(claim, Reason.CANCELLED)
    out, _ = await process.communicate()
    assert (process.returncode, out.split(b":")[0]) == (130, b"1 answered, 0 failed, 2 left")
    assert len(names(target)) == 1


async def test_a_file_of_something_else_is_refused_with_the_line(cli: Cli, tmp_path: Path, model: str) -> None:
    source, target = write(tmp_path / "in", model, 1), tmp_path / "out"
    target.write_text("hello\n")
    code, _, err = await cli("batch", "run", str(source), str(target))
    assert (code, "line 1" in err, target.read_text()) == (1, True, "hello\n")
    source.write_text("{}\n")
    code, _, err = await cli("batch", "run", str(source), str(tmp_path / "new"))
    assert (code, "line 1: `custom_id` is missing" in err) == (1, True)


async def test_batches_are_listed_shown_and_cancelled(cli: Cli, bus: Bus) -> None:
    now = int(time.time())
    one = Batch(new_batch_id(), "me", "/v1/completions", "file-x", "24h", now, now + 86400, total=7)
    await add_batch(bus, one)
    listed = await cli.json("batch", "list")
    assert [row["status"] for row in listed if row["id"] == one.id] == ["validating"]
    _, out, _ = await cli("batch", "show", one.id)
    assert "0 of 7 answered" in out
    assert (await cli("batch", "cancel", one.id))[1].strip() == "cancelling"
    assert (await get_batch(bus, one.id)).cancelling_at
    code, _, err = await cli("batch", "show", "batch_none")
    assert (code, "batch_none" in err) == (1, True)
    assert BatchNotFound.code == "batch_not_found"
