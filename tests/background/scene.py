"""A Redis of its own, voters, and background processes that write their votes to files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from queuechat.backlog import look_at_backlog
from queuechat.battles import Battle, Choice, Side, cast, new_battle_id, open_battle
from queuechat.bus import Bus
from tests.conftest import free_port, start_redis
from tests.processes import Command

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": 'Hello\n"you" \u2028 \\'}]


class Scene:
    """`counted` has each battle's id and the choice that was said to be its vote."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.redis = start_redis(folder, self.port)
        self.url = f"redis://127.0.0.1:{self.port}"
        self.bus = Bus(self.url, patience_s=60)
        self.counted: list[tuple[str, str]] = []
        self.started: list[Command] = []

    async def vote(self, voter: str) -> None:
        """Open a battle, and vote twice at once, each time for something else."""
        now, choices = time.time(), (Choice.LEFT, Choice.TIE)
        battle = Battle(new_battle_id(), (Side("a", TALK), Side("b", TALK)), True, voter, now)
        await open_battle(self.bus, battle)
        had = await asyncio.gather(*(cast(self.bus, battle, choice, now) for choice in choices))
        self.counted += [(battle.id, vote.value) for vote in set(had)]

    async def votes(self, voters: int) -> None:
        await asyncio.gather(*(self.vote(f"voter {k}") for k in range(voters)))

    async def background(self, **env: str) -> Command:
        command = await Command.start(["background"], self.folder, QUEUECHAT_REDIS_URL=self.url, **env)
        self.started.append(command)
        return command

    async def restart_redis(self) -> None:
        """SIGKILL, and the same again from what is on its disk."""
        self.redis.kill()
        self.redis.wait()
        self.redis = await asyncio.to_thread(start_redis, self.folder, self.port)

    async def all_written(self) -> None:
        async with asyncio.timeout(120):
            while (await look_at_backlog(self.bus)).lines:
                assert any(command.process.returncode is None for command in self.started)
                await asyncio.sleep(0.02)

    def rows(self) -> list[dict[str, Any]]:
        """All lines of the files."""
        files = sorted((self.folder / "arena").glob("*-conv.json"))
        return [orjson.loads(line) for path in files for line in path.read_bytes().splitlines()]

    def written(self) -> Counter[tuple[str, str]]:
        """How often each vote is in the files."""
        return Counter((row["battle_id"], row["type"]) for row in self.rows() if row["type"] in set(Choice))


@contextlib.asynccontextmanager
async def a_scene(folder: Path) -> AsyncIterator[Scene]:
    """Everything that was started is stopped at the end."""
    made = Scene(folder)
    try:
        await made.bus.open()
        yield made
    finally:
        await asyncio.gather(*(command.stop() for command in made.started))
        await made.bus.close()
        made.redis.kill()
        made.redis.wait()
