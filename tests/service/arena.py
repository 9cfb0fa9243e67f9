"""Battles of many people at once, while the workers under them are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from queuechat import battles, keys
from queuechat.battles import Choice
from tests.conftest import free_port
from tests.processes import Command
from tests.service.page import Page
from tests.service.site import Site, site
from workers.engines.echo import _WORDS

PEOPLE, MODELS, RATE = 20, 4, 120
_RETRIES = 50
_FOOTER = re.compile(r"queued [\d.]+ s · first token [\d.]+ s · [\d,.]+ tok/s · [\d,]+ tokens")


@dataclass
class _Tally:
    """What people have done, and what they found wrong."""

    votes: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    retries: int = 0
    faults: list[str] = field(default_factory=list)


async def arena(
    folder: Path,
    seed: int,
    size: int,
    *,
    people: int = PEOPLE,
    models: int = MODELS,
    rate: float = RATE,
    pause_s: float = 5.0,
) -> tuple[dict[str, Any], list[str]]:
    """People fight battles at the page, all at once, each one after the other until `size` are fought; every five
    seconds a worker is killed (SIGKILL, its engine as well) and started anew. Every answer comes whole, without a word
    lost or repeated, and every vote is counted once."""
    rng = random.Random(seed)
    async with site(folder) as here, _page(here) as url:
        names = [f"fighter-{n}" for n in range(models)]
        ring = _Ring(here, {name: await _fighter(here, name, rate) for name in names}, rate)
        tally = _Tally()
        rounds = iter(range(size))
        fighting = asyncio.gather(*(_fight(url, random.Random(rng.random()), rounds, tally) for _ in range(people)))
        killing = asyncio.create_task(ring.kill(rng, pause_s))
        try:
            await fighting
        finally:
            killing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await killing
        faults = [*tally.faults, *await _miscounts(here, tally)]
    figures = {
        "people": people,
        "models": models,
        "battles": tally.votes.total(),
        "answers": tally.answers,
        "asked_again_by_hand": tally.retries,
        "kills": ring.kills,
        "answers_cut_by_kills": ring.cut,
        "votes": dict(tally.votes),
    }
    return figures, faults


# -- people --------------------------------------------------------------------------------------------------------


async def _fight(url: str, rng: random.Random, rounds: Iterator[int], tally: _Tally) -> None:
    async with Page(url) as page:
        for number in rounds:
            choice = rng.choice(list(Choice))
            question = f"battle {number}: tell me about the number {rng.randrange(1000)}"
            await page.do("qc-arena-box", "submit", {"text": question, "files": []})
            while _unanswered(page) and tally.retries < _RETRIES:  # an overloaded page says that Redis does not answer
                tally.retries += 1
                await page.do("qc-arena-regenerate", "click")
            tally.faults += [f"battle {number}: {fault}" for fault in _faults(page)]
            tally.answers += 2
            await page.do(f"qc-arena-{choice.value}", "click")
            if "You found" not in str(page["qc-arena-verdict"].get("value")):
                tally.faults.append(f"battle {number}: no verdict, but {page['qc-arena-hint'].get('value')!r}")
            tally.votes[choice.value] += 1
            await page.do("qc-arena-fresh", "click")


def _unanswered(page: Page) -> bool:
    return any("qc-note" in _text(page[f"qc-arena-bot-{side}"]["value"][-1]) for side in "ab")


def _faults(page: Page) -> list[str]:
    """What is wrong with the two answers that a page shows."""
    faults = []
    for side in "ab":
        _, answer, *rest = [_text(message) for message in page[f"qc-arena-bot-{side}"]["value"]]
        if not rest or not _FOOTER.search(rest[-1]):
            faults.append(f"side {side} ended with {rest or answer[-200:]}")
        elif not _unbroken(answer.split()):
            faults.append(f"side {side} lost or repeated a word in {answer[:200]!r}")
    return faults


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _unbroken(words: list[str]) -> bool:
    """Whether these are all the words that echo says: each tells the one that comes 64 after it."""
    places = [_WORDS.index(word) for word in words]
    return len(words) > 64 and all((a + 7) % len(_WORDS) == b for a, b in zip(places, places[64:], strict=False))


# -- workers -------------------------------------------------------------------------------------------------------


async def _fighter(here: Site, name: str, rate: float) -> Command:
    return await here.workers.start("echo", name, "--echo-rate", str(rate), "--max-running", "64")


class _Ring:
    """The models' workers, one of which is always about to die."""

    def __init__(self, here: Site, fighters: dict[str, Command], rate: float):
        self._here, self._fighters, self._rate = here, fighters, rate
        self.kills = self.cut = 0

    async def kill(self, rng: random.Random, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            name = rng.choice(sorted(self._fighters))
            self.cut += (await self._here.bus.depth(name)).running
            await self._slay(name)
            self.kills += 1
            self._fighters[name] = await _fighter(self._here, name, self._rate)

    async def _slay(self, name: str) -> None:
        """Supervisor and engine at once, as when a machine is gone."""
        command = self._fighters[name]
        pids = [command.process.pid, *(worker.pid for worker in await self._here.workers.of(name))]
        for pid in dict.fromkeys(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await command.process.wait()


# -- what was counted ----------------------------------------------------------------------------------------------


async def _miscounts(here: Site, tally: _Tally) -> list[str]:
    entries = await here.bus.connection.command("XRANGE", keys.LINES, "-", "+")
    rows = [orjson.loads(fields[b"line"]) for _, fields in entries]
    cast = [row for row in rows if row["type"] in tuple(Choice)]
    faults = []
    if Counter(row["type"] for row in cast) != tally.votes:
        faults.append(f"votes {dict(tally.votes)} were counted as {Counter(row['type'] for row in cast)}")
    if len({row["battle_id"] for row in cast}) != len(cast):
        faults.append("a battle has two votes")
    per_model = Counter(state["model_name"] for row in cast for state in row["states"])
    if await battles.votes(here.bus) != per_model:
        faults.append(f"models have {await battles.votes(here.bus)} votes, and {per_model} were cast")
    return faults


@contextlib.asynccontextmanager
async def _page(here: Site) -> AsyncIterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = await Command.start(["ui", "--port", str(port)], here.folder, QUEUECHAT_REDIS_URL=here.url)
    try:
        async with asyncio.timeout(60), httpx.AsyncClient() as http:
            while True:
                assert command.process.returncode is None, command.log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{url}/config")).status_code == 200:
                        break
                await asyncio.sleep(0.05)
        yield url
    finally:
        await command.stop()
