"""Work that is done once, in a thread that ends with it.

OpenMP gives every thread that computes a team of its own and keeps it while that thread lives. Once all teams together
are larger than the machine, libgomp lets none of them spin: an engine's threads then sleep at every operator and have
to be woken, because the thread that loaded the model long ago is still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


async def in_passing(work: Callable[..., T], *args: object) -> T:
    """What `work(*args)` returns or raises; a caller that is cancelled does not stop it."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="passing")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work, *args)
    finally:
        thread.shutdown(wait=False)
