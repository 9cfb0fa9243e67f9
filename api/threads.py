"""Work on large bodies, off the event loop: a few threads of its own, so that nothing else waits behind it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 64 << 10  #: bytes of a body; smaller ones are read in a few milliseconds, which is less than others wait anyway
_THREADS = 2  # they share the interpreter's lock: more would only take turns


class Threads:
    """Open until `close`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "bodies")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def work(self, size: int, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """What `work` returns or raises, done in a thread when it is about so many bytes that the others would wait."""
        if size < LARGE:
            return work(*given, **named)
        call = functools.partial(work, *given, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
