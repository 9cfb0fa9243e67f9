"""The connection: opened with explicit timeouts, our functions loaded, calls repeated while Redis is away."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, TypeVar

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from queuechat.bus import faults
from queuechat.errors import Misconfigured
from queuechat.masking import without_secrets

log = logging.getLogger(__name__)

T = TypeVar("T")

LISTEN_TIMEOUT_S = 15.0
_CONNECTIONS = 64

_VERSION = "\nredis.register_function{{function_name='qc1_version', callback=function() return '{version}' end}}\n"


def library() -> tuple[str, int, str]:
    """functions.lua with a `qc1_version` function that answers "<revision>:<hash>", its revision and its hash."""
    text = files("queuechat").joinpath("functions.lua").read_text()
    sha = hashlib.sha256(text.encode()).hexdigest()[:16]
    revision = int(text.partition("local REVISION = ")[2].split()[0])
    return text + _VERSION.format(version=f"{revision}:{sha}"), revision, sha


async def heeding(call: Awaitable[T]) -> T:
    """The answer to a call of redis-py, unless the task was cancelled meanwhile.

    redis-py sends through asyncio.wait_for, and on Python 3.11 that swallows a cancellation which comes just as the
    sending is done (gh-86296): who then waits for the task would wait for ever. Before 3.11.3, asyncio.timeout, which
    redis-py reads with, takes an earlier cancellation of the task for its own (gh-102780): a task that cleans up after
    it was cancelled therefore speaks through another one.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    answer = await (asyncio.ensure_future(call) if before else call)
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer


def _quick(kind: Any) -> Any:
    """The same connection with a cheaper look for left-over bytes before each command.

    redis-py looks by reading with a timeout of 0, which costs a turn of the event loop. What has arrived lies in the
    stream's buffer by then, so looking there finds the same.
    """

    class Quick(kind):  # type: ignore[misc]
        async def can_read_destructive(self) -> bool:
            stream = self._reader
            if stream is None or stream.at_eof():
                raise RedisConnectionError("Connection closed by server.")
            return bool(stream._buffer)

    return Quick


class Connection:
    """A pool of Redis connections. Every call that is made through `call` must be safe to repeat."""

    def __init__(self, url: str, *, patience_s: float = 3.0):
        self.url = without_secrets(url)
        self._secret_url = url
        self.patience_s = patience_s
        self._places = asyncio.Semaphore(_CONNECTIONS)  # redis-py's blocking pool does this at several times the cost
        self.redis = self._client(socket_timeout=10)
        # Pub/sub is silent for as long as nothing happens: the listener's pings keep this one from timing out.
        self.quiet = self._client(socket_timeout=LISTEN_TIMEOUT_S)

    def _client(self, *, socket_timeout: float) -> aioredis.Redis:
        try:
            # redis-py's own retries are off: it would repeat calls without telling us that it did.
            pool = aioredis.ConnectionPool.from_url(
                self._secret_url,
                retry=Retry(NoBackoff(), 0),
                retry_on_timeout=False,
                socket_timeout=socket_timeout,
                **({} if self.url.startswith("unix") else {"socket_connect_timeout": 3, "socket_keepalive": True}),
            )
        except (ValueError, TypeError):
            # What the parser says may quote the password.
            raise Misconfigured(
                f"{self.url!r} is not a redis://, rediss:// or unix:// URL; in its password, write what is neither "
                "letter nor digit as %XX"
            ) from None
        pool.connection_class = _quick(pool.connection_class)
        return aioredis.Redis(connection_pool=pool)

    async def load_functions(self) -> None:
        """Bring the server our library, unless it has this very one or one of a later revision.

        Raises:
            BusUnavailable: Redis does not answer.
            Misconfigured: it is older than 7.0, or refuses us.
        """
        await self.patiently(self._load, self.patience_s)

    async def _load(self) -> None:
        text, revision, sha = library()
        try:
            found = await heeding(self._execute("FCALL", "qc1_version", 0))
        except faults.FOREIGN as error:
            if not faults.lost_functions(error):
                raise
            found = b"0:"
        there, _, its_sha = found.decode().partition(":")
        its_revision = int(there) if there.isdecimal() else 0
        if its_revision < revision or (its_revision == revision and its_sha != sha):
            await heeding(self._execute("FUNCTION", "LOAD", "REPLACE", text))

    async def command(self, *args: Any) -> Any:
        """One command, once."""
        try:
            return await heeding(self._execute(*args))
        except faults.FOREIGN as error:
            raise faults.translate(error, self.url) from error

    async def call(self, function: str, key: str, *args: Any, patience_s: float | None = None) -> Any:
        """One function, repeated until Redis answers or patience ends."""
        return await self.insist([("FCALL", function, 1, key, *args)], patience_s=patience_s, single=True)

    async def insist(
        self, commands: list[tuple[Any, ...]], *, patience_s: float | None = None, single: bool = False
    ) -> Any:
        """Commands in one round trip, all repeated until Redis answers all or patience ends.

        Raises:
            BusUnavailable, Misconfigured, QueuechatError: by `faults.translate`.
        """

        async def ask() -> Any:
            return await heeding(self._execute(*commands[0]) if single else self._pipelined(commands))

        async def ask_knowing() -> Any:
            try:
                return await ask()
            except faults.FOREIGN as error:
                if not faults.lost_functions(error):
                    raise
            await self._load()
            return await ask()

        return await self.patiently(ask_knowing, self.patience_s if patience_s is None else patience_s)

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
            return await self.redis.execute_command(*args)  # type: ignore[no-untyped-call]

    async def _pipelined(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        pipe = self.redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        async with self._places:
            answers: list[Any] = await pipe.execute()
        return answers

    async def close(self) -> None:
        for client in (self.redis, self.quiet):
            await client.aclose(close_connection_pool=True)
