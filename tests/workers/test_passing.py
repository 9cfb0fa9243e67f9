"""What is done in passing leaves no thread behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from workers.passing import in_passing


async def test_a_thread_ends_with_its_work() -> None:
    thread = await in_passing(threading.current_thread)
    assert thread is not threading.current_thread()
    await asyncio.to_thread(thread.join)


async def test_what_the_work_raises_is_raised_and_its_thread_ends_too() -> None:
    threads: list[threading.Thread] = []

    def failing(why: str) -> None:
        threads.append(threading.current_thread())
        raise ValueError(why)

    with pytest.raises(ValueError, match="no model"):
        await in_passing(failing, "no model")
    await asyncio.to_thread(threads[0].join)
