"""A real server on loopback, in this process, and who asks it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import openai

from api.app import create_app
from api.house import House
from api.server import Server, listen
from queuechat.settings import Settings


@dataclass
class Site:
    """Where the server listens, and two ways to ask it."""

    url: str
    port: int
    server: Server
    http: httpx.AsyncClient
    sdk: openai.AsyncOpenAI

    @property
    def house(self) -> House:
        return self.server.house

    async def post(self, path: str, body: object) -> httpx.Response:
        return await self.http.post(path, json=body)


@contextlib.asynccontextmanager
async def a_site(redis_url: str, **settings: object) -> AsyncIterator[Site]:
    """A server with these settings, until the end of the block."""
    chosen = Settings(**{"_env_file": None, **settings})  # type: ignore[arg-type]
    listener = listen("127.0.0.1", 0)
    server = Server(create_app(chosen, redis_url), chosen)
    serving = asyncio.create_task(server._serve([listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    http = httpx.AsyncClient(base_url=url, timeout=30)
    sdk = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)
    try:
        yield Site(url, listener.getsockname()[1], server, http, sdk)
    finally:
        await http.aclose()
        await sdk.close()
        server.stop()
        server.stop()
        await serving
