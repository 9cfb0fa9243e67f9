"""The connection: opened with explicit timeouts, our functions loaded, calls repeated while Redis is away."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, cast

from redis.asyncio.client import PubSub
from redis.exceptions import NoPermissionError

from queuechat.bus import faults, topology
from queuechat.bus.cluster import Address, Cluster, address_of
from queuechat.bus.lua import library
from queuechat.errors import Misconfigured
from queuechat.masking import without_secrets

log = logging.getLogger(__name__)

T = TypeVar("T")
Ask = Callable[..., Awaitable[Any]]

LISTEN_TIMEOUT_S = 15.0
_CONNECTIONS = 64


async def heeding(call: Awaitable[T]) -> T:
    """The answer to a call of redis-py, unless the task was cancelled meanwhile.

    redis-py sends through asyncio.wait_for, and on Python 3.11 that swallows a cancellation which comes just as the
    sending is done (gh-86296): who then waits for the task would wait for ever. Before 3.11.3, asyncio.timeout, which
    redis-py reads with, takes an earlier cancellation of the task for its own (gh-102780): a task that cleans up after
    it was cancelled therefore speaks through another one.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return await (asyncio.ensure_future(call) if before else call)
    finally:  # also when it ended as an error: of a connection that was just being made, say
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


def _at_most(seconds: float) -> asyncio.Timeout:
    task = asyncio.current_task()
    bounded = 0 < seconds < math.inf and task and not task.cancelling()  # gh-102780, as above
    return asyncio.timeout(seconds if bounded else None)


class Connection:
    """A pool of Redis connections. Every call that is made through `call` must be safe to repeat."""

    def __init__(self, url: str, *, patience_s: float = 3.0):
        self.url = without_secrets(url)
        place = topology.parse(url)
        self.patience_s = patience_s
        self._places = asyncio.Semaphore(_CONNECTIONS)  # redis-py's blocking pool does this at several times the cost
        self.redis: Any = topology.connect(place, socket_timeout=10)
        # Pub/sub is silent for as long as nothing happens: the listener's pings keep this one from timing out.
        self.quiet: Any = topology.connect(place, socket_timeout=LISTEN_TIMEOUT_S)

    async def load_functions(self) -> None:
        """Bring the server our library, unless it has this very one or one of a later revision.

        Raises:
            BusUnavailable: Redis does not answer.
            Misconfigured: it is older than 7.0, or refuses us.
        """
        await self.patiently(self._load, self.patience_s)

    async def _load(self) -> None:
        servers = await heeding(self._servers())
        if isinstance(self.redis, Cluster):
            servers |= self._nodes(self.redis, self.redis.bare())
        for ask in servers.values():
            async with self._places:
                await heeding(_bring(ask))

    async def _servers(self) -> dict[str, Ask]:
        """How to ask each server that must have our functions, by its address."""
        cluster = self.redis
        if isinstance(cluster, Cluster):
            return self._nodes(cluster, await cluster.primaries())
        return {self.url: self.redis.execute_command}

    @staticmethod
    def _nodes(cluster: Cluster, addresses: list[Address]) -> dict[str, Ask]:
        return {f"{host}:{port}": partial(cluster.ask, (host, port)) for host, port in addresses}

    async def command(self, *args: Any) -> Any:
        """One command, once."""
        try:
            return await heeding(self._execute(*args))
        except faults.FOREIGN as error:
            raise faults.translate(error, self.url) from error

    async def everywhere(self, *args: Any) -> dict[str, Any]:
        """One command, once, to the server or to each primary of a cluster: the answers by address."""
        try:
            return {at: await heeding(ask(*args)) for at, ask in (await heeding(self._servers())).items()}
        except faults.FOREIGN as error:
            raise faults.translate(error, self.url) from error

    async def call(self, function: str, key: str, *args: Any, patience_s: float | None = None) -> Any:
        """One function, repeated until Redis answers or patience ends."""
        return await self.insist([("FCALL", function, 1, key, *args)], patience_s=patience_s, single=True)

    async def insist(
        self, commands: list[tuple[Any, ...]], *, patience_s: float | None = None, single: bool = False
    ) -> Any:
        """Commands in one round trip, all repeated until Redis answers all or patience ends; who has little of it does
        not wait for the timeout of a connection that keeps silent.

        Raises:
            BusUnavailable, Misconfigured, QueuechatError: by `faults.translate`.
        """

        patience_s = self.patience_s if patience_s is None else patience_s

        async def ask() -> Any:
            async with _at_most(patience_s):
                return await heeding(self._execute(*commands[0]) if single else self._pipelined(commands))

        async def ask_knowing() -> Any:
            try:
                return await ask()
            except faults.FOREIGN as error:
                if not faults.lost_functions(error):
                    raise
            await self._load()
            return await ask()

        return await self.patiently(ask_knowing, patience_s)

    async def patiently(self, ask: Callable[[], Awaitable[T]], patience_s: float) -> T:
        """Ask until Redis answers or patience ends; what redis-py raises becomes an error of ours."""
        give_up, pause = time.monotonic() + patience_s, 0.02
        while True:
            try:
                return await ask()
            except faults.FOREIGN as error:
                if not faults.is_transient(error) or time.monotonic() + pause > give_up:
                    raise faults.translate(error, self.url) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    async def _execute(self, *args: Any) -> Any:
        async with self._places:
            return await self.redis.execute_command(*args)

    async def _pipelined(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        async with self._places:
            if isinstance(self.redis, Cluster):
                answers = await self.redis.pipelined(commands)
            else:
                pipe = self.redis.pipeline(transaction=False)
                for command in commands:
                    pipe.execute_command(*command)
                answers = await pipe.execute(raise_on_error=False)  # its own errors quote the whole command
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def pubsub(self, old: PubSub | None = None) -> PubSub:
        """What to listen with; `old` has failed. In a cluster any node will do: what is published is told to all."""
        if isinstance(self.redis, Cluster) and isinstance(self.quiet, Cluster):
            node = self.redis.another(address_of(old) if old else None)
            return cast(PubSub, self.quiet.client(node).pubsub())
        return old or cast(PubSub, self.quiet.pubsub())

    def reaches(self, pubsub: PubSub) -> bool:
        """Whether what is published can arrive there: not at a node that has left the cluster."""
        return not isinstance(self.redis, Cluster) or self.redis.knows(address_of(pubsub))

    async def close(self) -> None:
        for client in (self.redis, self.quiet):
            await topology.close(client)


async def _bring(ask: Ask) -> None:
    """Give a server our library, unless it has this very one or one of a later revision."""
    text, revision, sha = library()
    try:
        found = await ask("FCALL", "qc1_version", 0)
    except faults.FOREIGN as error:
        if not faults.lost_functions(error):
            raise
        found = b"0:"
    there, _, its_sha = found.decode().partition(":")
    its_revision = int(there) if there.isdecimal() else 0
    if its_revision > revision or (its_revision == revision and its_sha == sha):
        return
    try:
        await ask("FUNCTION", "LOAD", "REPLACE", text)
    except NoPermissionError:
        raise Misconfigured(
            "the functions of this release are not in Redis: "
            "run `queuechat load-functions` with a role that may (deploy)"
        ) from None
