"""One pub/sub connection per process, shared by everything that listens.

Pub/sub has no memory. Each time a subscription is (again) in force its `on_sync` is called: what was said before must
be read elsewhere, what is said from then on arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.client import PubSub

from queuechat.bus.connection import LISTEN_TIMEOUT_S, Connection, heeding
from queuechat.bus.faults import FOREIGN

log = logging.getLogger(__name__)

OnMessage = Callable[[bytes], None]
OnSync = Callable[[], None]

_HOLD = "qc:listener"  # subscribed for ever, so that the connection always has something to wait for


@dataclass(slots=True, eq=False)
class Subscription:
    """One reader of a channel; several may share it."""

    channel: bytes
    on_message: OnMessage
    on_sync: OnSync
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def in_force(self) -> None:
        self.ready.set()
        self.on_sync()


class Listener:
    """Callbacks by channel; they run on the event loop and must not block or raise."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._pubsub: PubSub = connection.pubsub()
        self._subscriptions: dict[bytes, list[Subscription]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Raises BusUnavailable when Redis does not answer."""
        await self._connection.patiently(self._connect, self._connection.patience_s)
        self._tasks = [
            asyncio.create_task(self._read(), name="listener"),
            asyncio.create_task(self._ping(), name="listener ping"),
        ]

    async def subscribe(self, channel: str, on_message: OnMessage, on_sync: OnSync = lambda: None) -> Subscription:
        """Returns when Redis has confirmed it (or, while Redis is away, as soon as it is back)."""
        subscription = Subscription(channel.encode(), on_message, on_sync)
        sharing = self._subscriptions.setdefault(subscription.channel, [])
        sharing.append(subscription)
        try:
            with contextlib.suppress(*FOREIGN):  # the reader subscribes again when it reconnects
                await heeding(self._pubsub.subscribe(channel))
            await subscription.ready.wait()
        except BaseException:
            await self.unsubscribe(subscription)
            raise
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Stop this reader; safe to call twice."""
        sharing = self._subscriptions.get(subscription.channel, [])
        if subscription not in sharing:
            return
        sharing.remove(subscription)
        if not sharing:
            del self._subscriptions[subscription.channel]
            with contextlib.suppress(*FOREIGN):
                await heeding(self._pubsub.unsubscribe(subscription.channel))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _connect(self) -> None:
        """Subscribe to everything: what was asked for while Redis was away, redis-py does not know of."""
        old, self._pubsub = self._pubsub, self._connection.pubsub(self._pubsub)
        if old is not self._pubsub:
            await old.aclose()  # type: ignore[no-untyped-call]
        await heeding(self._pubsub.subscribe(_HOLD, *(channel.decode() for channel in self._subscriptions)))

    async def _read(self) -> None:
        while True:
            try:
                while True:
                    await self._dispatch(await self._pubsub.parse_response(block=True))
                    for response in _arrived(self._pubsub):
                        await self._dispatch(response)
            except FOREIGN as error:
                log.warning("pub/sub connection lost (%s); reconnecting", error)
            except Exception:  # a bug; but a process whose listener is dead would serve nobody and not know it
                log.exception("reading pub/sub failed; reconnecting")
            await self._reconnect()

    async def _ping(self) -> None:
        """A peer that is gone without a word is noticed when three of these were not answered."""
        while True:
            await asyncio.sleep(LISTEN_TIMEOUT_S / 3)
            with contextlib.suppress(*FOREIGN):
                if self._connection.reaches(self._pubsub):
                    await heeding(self._pubsub.ping())
                elif self._pubsub.connection:  # its end wakes the reader, which then goes elsewhere
                    await self._pubsub.connection.disconnect()

    async def _reconnect(self) -> None:
        pause = 0.05
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
            try:
                await self._connect()
                return
            except FOREIGN:
                continue
            except Exception:
                log.exception("pub/sub cannot be opened again; trying on")

    async def _dispatch(self, response: list[bytes]) -> None:
        kind, channel = response[0], response[1]
        if kind == b"message":
            for subscription in self._subscriptions.get(channel, ()):
                subscription.on_message(response[2])
        elif kind in (b"subscribe", b"unsubscribe"):
            # redis-py keeps books of its own, for when it reconnects.
            await self._pubsub.handle_message(response)  # type: ignore[no-untyped-call]
            if kind == b"subscribe":
                for subscription in list(self._subscriptions.get(channel, ())):
                    subscription.in_force()


def _arrived(pubsub: PubSub) -> Iterator[list[bytes]]:
    """What came along with the last response: redis-py takes each through its layers of retries and timeouts, which
    costs as much as all that is done with a message.

    Raises:
        RedisError: an answer that is an error.
    """
    assert pubsub.connection
    reader = pubsub.connection._parser._reader  # there is no public way to what has arrived
    while (response := reader.gets()) is not NOT_ENOUGH_DATA:
        if isinstance(response, Exception):
            raise response
        yield response
