"""A whole page on a free port, and what a program without a browser can do with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from queuechat.settings import load
from tests.conftest import free_port
from ui.server import serve


@dataclass(frozen=True, slots=True)
class Site:
    """A running page, as a client with cookies of its own sees it."""

    url: str
    http: httpx.AsyncClient

    async def ask(
        self, text: str, kept: Any = None, model: str = "m", *, files: Sequence[str] = (), **headers: str
    ) -> str:
        """Send a question past the page, straight to what its box would call; all that comes back, as JSON."""
        config = (await self.http.get("/config", headers=headers)).raise_for_status().json()
        parts = {part["id"]: part["props"] for part in config["components"]}
        (box,) = (id for id, props in parts.items() if props.get("elem_id") == "qc-box")
        (call,) = (one for one in config["dependencies"] if [box, "submit"] in [list(t) for t in one["targets"]])
        shelf = {"id": "x", "exchanges": kept or []}
        attached = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in files]
        data = [{"text": text, "files": attached}, shelf, model, *(parts[id].get("value") for id in call["inputs"][3:])]
        session = secrets.token_hex(8)
        body = {"data": data, "fn_index": call["id"], "session_hash": session, "trigger_id": box}
        joined = await self.http.post("/gradio_api/queue/join", json=body, headers=headers)
        joined.raise_for_status()
        return await self._heard(session, headers)

    async def _heard(self, session: str, headers: dict[str, str]) -> str:
        lines = []
        parameters = {"session_hash": session}
        async with self.http.stream("GET", "/gradio_api/queue/data", params=parameters, headers=headers) as stream:
            async for line in stream.aiter_lines():
                lines.append(line)
                if line and json.loads(line.removeprefix("data: ")).get("msg") == "process_completed":
                    break
        return "\n".join(lines)


@contextlib.asynccontextmanager
async def a_site(redis_url: str, **settings: Any) -> AsyncIterator[Site]:
    """The page with these settings, until it is left."""
    port, stop = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve(load(host="127.0.0.1", ui_port=port, **settings), redis_url, stop))
    while not serving.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.02)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            yield Site(f"http://127.0.0.1:{port}/", http)
    finally:
        stop.set()
        await serving
