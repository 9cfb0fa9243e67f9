"""Redis, an API, echo workers and background workers as a user starts them, and files of requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch

from queuechat import keys
from tests.conftest import start_redis
from tests.processes import Command
from tests.service.site import MODEL, Site, site

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


class Plant:
    """`sdk` asks the API; `background` starts another background worker."""

    def __init__(self, here: Site):
        self.here, self.bus, self.folder = here, here.bus, here.folder
        self.backgrounds: list[Command] = []
        self.port = 0

    async def open_api(self) -> None:
        self.port = await self.here.api(self.port)

    @property
    def sdk(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=20, timeout=30
        )

    async def background(self, **env: str) -> Command:
        made = await Command.start(["background"], self.folder, QUEUECHAT_REDIS_URL=self.here.url, **env)
        self.backgrounds.append(made)
        return made

    async def restart_redis(self) -> None:
        """SIGKILL, and the same again from what is on its disk."""
        here = self.here
        here.redis.kill()
        here.redis.wait()
        port = int(here.url.rpartition(":")[2].partition("/")[0])
        here.redis = await asyncio.to_thread(start_redis, self.folder, port)

    async def begin(
        self, lines: Iterable[dict[str, Any]], endpoint: Any = CHAT, window: Any = "24h", **more: Any
    ) -> Batch:
        """Upload a file of these lines, and make it a batch."""
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file = await self.sdk.files.create(file=("in.jsonl", content), purpose="batch")
        return await self.sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window=window, **more)

    async def when(self, batch: Batch, wanted: Callable[[Batch], bool]) -> Batch:
        """The batch as soon as it is as wanted."""
        async with asyncio.timeout(280):
            while not wanted(seen := await self.sdk.batches.retrieve(batch.id)):
                await asyncio.sleep(0.05)
        return seen

    async def ended(self, batch: Batch) -> Batch:
        return await self.when(batch, lambda seen: seen.status in ENDED)

    async def records(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        text = (await self.sdk.files.content(file_id)).text
        return [json.loads(line) for line in text.splitlines()]

    async def answers_made(self) -> int:
        """How often the model was asked: each ended job has one entry."""
        return int(await self.bus.connection.command("XLEN", keys.usage(MODEL)))


@contextlib.asynccontextmanager
async def a_plant(folder: Path) -> AsyncIterator[Plant]:
    """With an API; everything that was started is stopped at the end."""
    async with site(folder) as here:
        plant = Plant(here)
        await plant.open_api()
        try:
            yield plant
        finally:
            await asyncio.gather(*(command.stop() for command in plant.backgrounds))


def request(k: int, tokens: int = 3, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A line; every word of the answer is a token."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": f"question {k}"}], "max_tokens": tokens, **body}
    return {"custom_id": f"line-{k}", "method": "POST", "url": url, "body": asked}


def text_of(record: dict[str, Any]) -> str:
    return str(record["response"]["body"]["choices"][0]["message"]["content"])
