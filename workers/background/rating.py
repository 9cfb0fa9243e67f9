"""From the log files to the leaderboard on the pages: the chore that rates votes, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from queuechat.errors import JobFailed, QueuechatError
from queuechat.leaderboard.results import read_leaderboard
from queuechat.standings import publish, published, turn_to_rate
from workers.background.desk import Desk

log = logging.getLogger(__name__)

_NICE = 10


async def rate(ctx: dict[str, Any]) -> None:
    """Rate the votes, when it is time and there are new ones; pages show them from then on."""
    desk: Desk = ctx["desk"]
    try:
        if await _is_due(desk):
            began = time.time()
            await _build(desk)
            made = await asyncio.to_thread(read_leaderboard, _result(desk))
            os.utime(_result(desk), (began, began))  # votes that came meanwhile are news
            await publish(desk.bus, made)
            log.info("the leaderboard is of %d votes now", made.votes)
    except QueuechatError as error:
        log.warning("the leaderboard stays as it is: %s", error.message)
    except OSError as error:
        log.warning("the leaderboard stays as it is: %s", error)


async def _is_due(desk: Desk) -> bool:
    """Whether there is something to rate, or a rating that this Redis does not have, and nobody does it now."""
    if not desk.rating.every_s or not desk.arena.is_dir():
        return False
    news = await asyncio.to_thread(_has_news, desk.arena, _result(desk))
    lost = _result(desk).is_file() and await published(desk.bus) is None
    return (news or lost) and await turn_to_rate(desk.bus, desk.rating.every_s)


def _result(desk: Desk) -> Path:
    return desk.arena / "leaderboard.json"


def _has_news(arena: Path, result: Path) -> bool:
    """Whether a log file was written after the result."""
    rated = result.stat().st_mtime if result.exists() else 0.0
    return any(path.stat().st_mtime > rated for path in arena.glob("*-conv.json"))


async def _build(desk: Desk) -> None:
    """`queuechat leaderboard build`, which computes for seconds and must not hold up anything here.

    Raises:
        JobFailed: it did not succeed; its last line says why.
    """
    command = [
        "leaderboard",
        "build",
        "--output",
        str(desk.arena),
        "--rounds",
        str(desk.rating.rounds),
        "--style-control",
    ]
    command += ["--categories", str(desk.rating.categories)] if desk.rating.categories else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuechat", *command),
        env={**os.environ, "QUEUECHAT_ARENA_DIR": str(desk.arena), "QUEUECHAT_LOG_LEVEL": "warning"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        _, said = await process.communicate()
    finally:
        if process.returncode is None:  # the background process ends
            process.kill()
            await process.wait()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise JobFailed(lines[-1] if lines else f"queuechat leaderboard build ended with {process.returncode}")
