"""A worker with the engine remote in this process: what a child does, and what its supervisor says of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from queuechat import keys
from queuechat.bus import Bus
from queuechat.protocol import ModelCard, WorkerCard
from tests.api.site import Site
from workers.child import _told
from workers.consumer import Consumer
from workers.endpoints import endpoint_of
from workers.engines.remote import RemoteEngine
from workers.relaying import Relay


async def ask(site: Site, model: str, messages: Sequence[Any], **more: Any) -> Any:
    """A chat completion, or the stream of one."""
    return await site.sdk.chat.completions.create(model=model, messages=messages, **more)


@contextlib.asynccontextmanager
async def relaying(bus: Bus, model: str, **entry: object) -> AsyncIterator[Consumer]:
    """Serve `model` as the entry of an endpoint says."""
    entry = {"model_name": "theirs", "api_type": "openai", **entry}
    engine = RemoteEngine(endpoint_of(entry, model))
    engine.start()
    worker = f"relay-{secrets.token_hex(4)}"
    speech = Relay(engine.vocabulary, thinks=bool(entry.get("reasoning")))
    consumer = Consumer(bus, engine, speech, model=model, worker=worker)
    told = _told(engine.caps, speech)
    card = ModelCard(
        model, engine="remote", tool_format=told["tool_format"], reasoning=told["reasoning"],
        grammars=sorted(engine.caps.grammars), **told["abilities"],
    )  # fmt: skip
    await _announce(bus, card, worker)
    running, beating = asyncio.create_task(consumer.run()), asyncio.create_task(_beat(bus, card, worker))
    while not consumer._puller._claimer._turn:  # it listens
        await asyncio.sleep(0.005)
    try:
        yield consumer
    finally:
        for task in (running, beating):
            task.cancel()
        await asyncio.gather(running, beating, return_exceptions=True)
        engine.close()
        await bus.connection.insist([("DEL", keys.worker_card(worker))])


async def _beat(bus: Bus, card: ModelCard, worker: str) -> None:
    while True:
        await asyncio.sleep(keys.BEAT_S / 2)
        await _announce(bus, card, worker)
        await bus.renew(card.name, f"{worker}/0")


async def _announce(bus: Bus, card: ModelCard, worker: str) -> None:
    now = int(time.time() * 1000)
    alive = WorkerCard(worker, card.name, engine="remote", state="ready", capacity=8)
    await bus.connection.insist(
        [
            ("SET", keys.model_card(card.name), card.encode()),
            ("ZADD", keys.MODELS, now, card.name),
            ("SET", keys.worker_card(worker), alive.encode(), "PX", keys.WORKER_MS),
            ("ZADD", keys.WORKERS, now, worker),
        ]
    )
