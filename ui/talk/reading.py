"""Reading what is attached, in threads of its own: pictures take long, and nothing else may wait for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from queuechat.dialects.pictures import Limits
from ui.talk.attaching import attached
from ui.talk.exchange import TextFile

_THREADS = 2  # each may have a picture of 100 MB in its hands


class Reader:
    """One question's files of a person at a time; the others wait for their turn."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="attached")
        self._people: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def read(
        self, person: str, paths: Sequence[Path], limits: Limits, text_limit: int
    ) -> tuple[tuple[str, ...], tuple[TextFile, ...]]:
        """What `attached` gives; raises what it raises."""
        turn = self._people.setdefault(person, asyncio.Lock())
        await turn.acquire()
        loop = asyncio.get_running_loop()

        def release(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the process ends, and its loop has
                loop.call_soon_threadsafe(turn.release)

        # A reader who leaves stops no thread, so the turn ends with the work and not with the waiting.
        work = self._threads.submit(attached, paths, limits, text_limit)
        work.add_done_callback(release)
        return await asyncio.wrap_future(work)
