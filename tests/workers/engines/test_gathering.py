"""Events of many threads as the steps of one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import pytest

from workers.engines import gathering
from workers.engines.base import Step, Tokens
from workers.engines.gathering import Gathering

T = TypeVar("T")

_NEVER_S = 20  # what is not so is known before, and threads that a failure leaves behind end


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who waits for the others gives up."""
    monkeypatch.setattr(gathering, "_JOIN_S", _NEVER_S)


def tokens(id: str) -> Tokens:
    return Tokens(id, 1, [7])


def names(step: Step) -> list[str]:
    return sorted(event.id for event in step)


async def soon(coming: Awaitable[T]) -> T:
    return await asyncio.wait_for(coming, _NEVER_S / 2)


async def in_thread(made: Gathering, id: str, of: int) -> asyncio.Task[None]:
    """What a thread of llama.cpp does with a token; returns once it is posted."""
    posted, loop = asyncio.Event(), asyncio.get_running_loop()

    def post() -> None:
        made.post(tokens(id), of=of)
        loop.call_soon_threadsafe(posted.set)
        made.join()

    thread = asyncio.create_task(asyncio.to_thread(post))
    await posted.wait()
    return thread


class Taken:
    """The steps of a gathering as they are taken."""

    def __init__(self, made: Gathering):
        self.steps: asyncio.Queue[Step] = asyncio.Queue()
        self._task = asyncio.create_task(self._take(made.steps()))

    async def _take(self, steps: AsyncIterator[Step]) -> None:
        async for step in steps:
            self.steps.put_nowait(step)

    async def over(self) -> None:
        await self._task


@pytest.mark.usefixtures("patient")
async def test_the_tokens_of_a_step_wait_for_the_last_of_them() -> None:
    made = Gathering()
    taken = Taken(made)
    first = await in_thread(made, "a", of=3)
    second = await in_thread(made, "b", of=3)
    await soon(second)  # only who was first waits
    assert taken.steps.empty()
    assert not first.done()
    await in_thread(made, "c", of=3)
    assert names(await soon(taken.steps.get())) == ["a", "b", "c"]
    await soon(first)


async def test_one_that_says_nothing_is_not_waited_for_for_ever() -> None:
    made = Gathering()
    taken = Taken(made)
    await in_thread(made, "a", of=2)
    assert names(await soon(taken.steps.get())) == ["a"]


@pytest.mark.usefixtures("patient")
async def test_what_waits_for_nobody_takes_along_what_waits() -> None:
    made = Gathering()
    taken = Taken(made)
    waiting = await in_thread(made, "a", of=2)
    made.post(tokens("b"), of=0)
    assert names(await soon(taken.steps.get())) == ["a", "b"]
    await soon(waiting)


async def test_who_waited_for_a_step_that_was_taken_leaves_the_next_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_JOIN_S", 0.2)
    made = Gathering()
    taken = Taken(made)
    waiting = await in_thread(made, "a", of=2)
    made.post(tokens("b"), of=2)
    assert names(await soon(taken.steps.get())) == ["a", "b"]
    made.post(tokens("a"), of=2)  # by no thread that waits
    await soon(waiting)
    await asyncio.sleep(0)
    assert taken.steps.empty()


@pytest.mark.usefixtures("patient")
async def test_it_ends_after_what_was_posted() -> None:
    made = Gathering()
    taken = Taken(made)
    waiting = await in_thread(made, "a", of=2)
    made.end()
    await taken.over()
    assert names(taken.steps.get_nowait()) == ["a"]
    await soon(waiting)
