"""Events that threads post one by one, as the steps that an event loop takes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

from workers.engines.base import Finished, Step, Tokens

_JOIN_S = 0.004  #: for so long the first token of a step waits for the others, which are drawn one after another


class Gathering:
    """What is posted until the loop is woken is one step. Any thread may post; one loop takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of all below
        self._events: Step = []
        self._first = 0  # the thread that has posted the first of these
        self._woken = False  # for these
        self._ended = False
        self._wake: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def post(self, event: Tokens | Finished, *, of: int) -> None:
        """Add an event to the step. The loop is woken once there are `of` of them."""
        with self._lock:
            self._events.append(event)
            if len(self._events) == 1:
                self._first = threading.get_ident()
            if not self._woken and len(self._events) >= of:
                self._tell()

    def join(self) -> None:
        """To be called by a thread that has posted, without locks: that of a step's first event, whose next one is a
        whole step away, sleeps, and then wakes the loop for what is there."""
        with self._lock:
            step = self._events
            if self._woken or not step or self._first != threading.get_ident():
                return
        time.sleep(_JOIN_S)
        with self._lock:
            if self._events is step and not self._woken:
                self._tell()

    def end(self) -> None:
        """After what was posted nothing follows."""
        with self._lock:
            self._ended = True
            self._tell()

    async def steps(self) -> AsyncIterator[Step]:
        wake = asyncio.Event()
        self._wake = asyncio.get_running_loop(), wake
        while True:
            wake.clear()
            with self._lock:
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
        if self._wake is not None and not self._wake[0].is_closed():
            loop, wake = self._wake
            loop.call_soon_threadsafe(wake.set)
