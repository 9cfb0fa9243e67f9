"""`python -m tests.fuzz.host REDIS_URL FOLDER`: an API server whose event loop is watched; SIGTERM ends it.

Writes `port` into the folder when it listens, and `watch.json` at its end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import uvloop

from api.app import create_app
from api.server import Server, listen
from queuechat.settings import Settings
from tests.fuzz.watch import Watch


async def _serve(redis_url: str, folder: Path) -> None:
    settings = Settings(_env_file=None, state_dir=folder, queue_limit=100_000, drain_s=2, ollama=True)  # type: ignore[call-arg]
    listener, watch = listen("127.0.0.1", 0), Watch()
    server = Server(create_app(settings, redis_url), settings)
    async with watch.on():
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        _write(folder / "port", str(listener.getsockname()[1]))
        await serving
    _write(folder / "watch.json", json.dumps(watch.report()))


def _write(path: Path, text: str) -> None:
    half = path.with_suffix(".half")
    half.write_text(text)
    half.rename(path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(_serve(sys.argv[1], Path(sys.argv[2])))
