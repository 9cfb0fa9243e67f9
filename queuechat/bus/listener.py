"""One pub/sub connection per process, shared by everything that listens.

Pub/sub has no memory. Each time a subscription is (again) in force its `on_sync` is called: what was said before must
be read elsewhere, what is said from then on arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from redis.asyncio.client import PubSub

from queuechat.bus.connection import LISTEN_TIMEOUT_S, Connection, heeding
from queuechat.bus.faults import FOREIGN

log = logging.getLogger(__name__)

OnMessage = Callable[[bytes], None]
OnSync = Callable[[], None]

_HOLD = "qc:listener"  # subscribed for ever, so that the connection always has something to wait for


@dataclass(slots=True)
class _Subscription:
    on_message: OnMessage
    on_sync: OnSync
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Listener:
    """Callbacks by channel; they run on the event loop and must not block or raise."""

    def __init__(self, connection: Connection):
        self._pubsub: PubSub = connection.quiet.pubsub()
        self._subscriptions: dict[bytes, _Subscription] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._pubsub.subscribe(_HOLD)
        self._tasks = [
            asyncio.create_task(self._read(), name="listener"),
            asyncio.create_task(self._ping(), name="listener ping"),
        ]

    async def subscribe(self, channel: str, on_message: OnMessage, on_sync: OnSync = lambda: None) -> None:
        """Returns when Redis has confirmed it (or, while Redis is away, as soon as it is back)."""
        subscription = _Subscription(on_message, on_sync)
        self._subscriptions[channel.encode()] = subscription
        with contextlib.suppress(*FOREIGN):  # the reader subscribes again when it reconnects
            await heeding(self._pubsub.subscribe(channel))
        await subscription.ready.wait()

    async def unsubscribe(self, channel: str) -> None:
        """Stop listening; harmless when nobody did."""
        if self._subscriptions.pop(channel.encode(), None):
            with contextlib.suppress(*FOREIGN):
                await heeding(self._pubsub.unsubscribe(channel))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _read(self) -> None:
        while True:
            try:
                while True:
                    self._dispatch(await self._pubsub.parse_response(block=True))
            except FOREIGN as error:
                log.warning("pub/sub connection lost (%s); reconnecting", error)
                await self._reconnect()

    async def _ping(self) -> None:
        """A peer that is gone without a word is noticed when three of these were not answered."""
        while True:
            await asyncio.sleep(LISTEN_TIMEOUT_S / 3)
            with contextlib.suppress(*FOREIGN):
                await heeding(self._pubsub.ping())

    async def _reconnect(self) -> None:
        pause = 0.05
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
            missing = [c.decode() for c in (_HOLD.encode(), *self._subscriptions)]
            try:
                # Also what was asked for while Redis was away and redis-py does not know of.
                await heeding(self._pubsub.subscribe(*missing))
                return
            except FOREIGN:
                continue

    def _dispatch(self, response: list[bytes]) -> None:
        kind, channel = response[0], response[1]
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            return
        if kind == b"message":
            subscription.on_message(response[2])
        elif kind == b"subscribe":
            subscription.ready.set()
            subscription.on_sync()
