"""Work that ends early when its client leaves or the server's patience at shutdown does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive

from queuechat.errors import DeadlineExceeded, Draining, QueuechatError
from queuechat.failpoints import failpoint


class ClientGone(Exception):
    """Nobody is left to answer."""


class Drain:
    """Knows all running work. `begin` refuses new work, `finish` waits for the old and then cuts it."""

    def __init__(self) -> None:
        self.draining = False
        self.cut = False  #: running work is being ended, wherever it is
        self._running: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def running(self) -> int:
        return len(self._running)

    def begin(self) -> None:
        failpoint("drain.api")
        self.draining = True

    def hurry(self) -> None:
        """Cut at once."""
        self._hurry.set()

    async def finish(self, patience_s: float) -> None:
        """Give running work so long; what is left then ends with Draining."""
        self.begin()
        self._check_idle()
        waits = [asyncio.create_task(event.wait()) for event in (self._idle, self._hurry)]
        await asyncio.wait(waits, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self.cut = True
        for task in list(self._running):
            task.cancel()

    def admit(self) -> None:
        """Raises Draining when no new work is taken."""
        if self.draining:
            raise Draining("this server is shutting down; another one may answer", retry_after=1)

    async def guard(self, work: Coroutine[Any, Any, None], receive: Receive, deadline_s: float) -> None:
        """Run `work` to its end.

        Raises:
            ClientGone: the client has left; `work` was cancelled at once.
            Draining: the server shuts down and could not wait any longer.
            DeadlineExceeded: nobody ended it in time.
        """
        if self.cut:  # its body was slower than all the others' answers
            work.close()
            raise Draining("this server is shutting down; ask again", retry_after=1)
        task = asyncio.create_task(work)
        self._running.add(task)
        watcher = asyncio.create_task(_until_gone(receive))
        watcher.add_done_callback(lambda _: task.cancel())
        late = asyncio.get_running_loop().call_later(deadline_s, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            # Of all that may have cancelled it, a client that has left explains the rest.
            if watcher.done():
                raise ClientGone from None
            if self.cut:
                raise Draining("this server is shutting down; ask again", retry_after=1) from None
            if late.when() <= asyncio.get_running_loop().time():
                raise DeadlineExceeded(f"no full answer within {deadline_s:g} s") from None
            raise
        finally:
            late.cancel()
            watcher.cancel()
            self._running.discard(task)
            self._check_idle()

    def _check_idle(self) -> None:
        if self.draining and not self._running:
            self._idle.set()


async def _until_gone(receive: Receive) -> None:
    gone = False
    while not gone:
        with contextlib.suppress(QueuechatError):  # a body that does not come, or is too large: nobody reads it
            gone = (await receive())["type"] == "http.disconnect"
    failpoint("gone.before")
