"""Events that threads post one by one, as the steps that an event loop takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

from workers.engines.base import Finished, Step, Tokens

_JOIN_S = 0.004  #: for so long the first token of a step waits for the others, which are drawn one after another


class Gathering:
    """What is posted until the loop is woken is one step. Any thread may post; one loop takes."""

    def __init__(self) -> None:
        self._told = threading.Condition()  # and the lock of all below
        self._events: Step = []
        self._first = 0  # the thread that has posted the first of these
        self._woken = False  # for these
        self._ended = False
        self._wake: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def post(self, event: Tokens | Finished, *, of: int) -> None:
        """Add an event to the step. The loop is woken once there are `of` of them."""
        with self._told:
            self._events.append(event)
            if len(self._events) == 1:
                self._first = threading.get_ident()
            if not self._woken and len(self._events) >= of:
                self._tell()

    def join(self) -> None:
        """To be called by a thread that has posted, and holds no locks: that of a step's first event waits for the
        others, and if they do not come wakes the loop for what is there."""
        with self._told:
            step = self._events
            if self._woken or not step or self._first != threading.get_ident():
                return
            if not self._told.wait_for(lambda: self._woken or self._events is not step, _JOIN_S):
                self._tell()

    def end(self) -> None:
        """After what was posted nothing follows."""
        with self._told:
            self._ended = True
            self._tell()

    async def steps(self) -> AsyncIterator[Step]:
        wake = asyncio.Event()
        self._wake = asyncio.get_running_loop(), wake
        while True:
            wake.clear()
            with self._told:
                step: Step = []
                if self._woken:
                    step, self._events, self._woken = self._events, [], False
                ended = self._ended
            if step:
                yield step
            elif ended:
                return
            else:
                await wake.wait()

    def _tell(self) -> None:
        self._woken = True
        self._told.notify_all()
        if self._wake is not None and not self._wake[0].is_closed():
            loop, wake = self._wake
            loop.call_soon_threadsafe(wake.set)
