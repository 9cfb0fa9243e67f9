"""What the clients are pointed at: Redis, API and background as processes, a small real model and one that is slow."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from queuechat.credentials import add_key
from tests.processes import Command
from tests.service.site import site

MODEL, SLOW = "smollm2", "slow"
KEY = "sk-compat"


@contextlib.asynccontextmanager
async def a_stack(folder: Path) -> AsyncIterator[dict[str, str]]:
    """The environment in which a client program finds the server."""
    async with site(folder) as here:
        real = ("--engine", "llamacpp", "--tool-format", "json", "--max-context", "2048", "--threads", "1")
        await here.workers.start("smollm2", MODEL, *real)
        await here.workers.start("echo", SLOW, "--echo-rate", "20")
        files = str(folder / "files")
        port = await here.api(QUEUECHAT_API_KEYS=KEY, QUEUECHAT_OLLAMA="true", QUEUECHAT_FILES_DIR=files)
        _, frugal = await add_key(here.bus, "", "frugal", lifetime_s=None, concurrency=1)
        background = await Command.start(
            ["background"], folder, QUEUECHAT_REDIS_URL=here.url, QUEUECHAT_FILES_DIR=files
        )
        try:
            yield {
                "COMPAT_ROOT": f"http://127.0.0.1:{port}",
                "COMPAT_KEY": KEY,
                "COMPAT_FRUGAL": frugal,
                "COMPAT_MODEL": MODEL,
                "COMPAT_SLOW": SLOW,
            }
        finally:
            await background.stop()
