"""Events of many threads as the steps of one loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from workers.engines import gathering
from workers.engines.base import Finished, Tokens
from workers.engines.gathering import Gathering


def tokens(id: str, offset: int = 1) -> Tokens:
    return Tokens(id, offset, [7])


def in_thread(gathering: Gathering, event: Tokens | Finished, of: int) -> threading.Thread:
    def post() -> None:
        gathering.post(event, of=of)
        gathering.join()

    thread = threading.Thread(target=post)
    thread.start()
    return thread


async def test_what_is_posted_by_all_who_run_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_JOIN_S", 1)
    made = Gathering()
    steps = made.steps()
    coming = asyncio.ensure_future(anext(steps))
    threads = [in_thread(made, tokens(str(n)), of=3) for n in range(3)]
    assert sorted(event.id for event in await coming) == ["0", "1", "2"]
    for thread in threads:
        thread.join()


async def test_who_waits_for_one_that_says_nothing_does_not_wait_for_ever() -> None:
    made = Gathering()
    threads = [in_thread(made, tokens(str(n)), of=3) for n in range(2)]
    found = [event.id async for event in _events(made, 2)]
    assert sorted(found) == ["0", "1"]
    for thread in threads:
        thread.join()


async def test_an_end_takes_along_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_JOIN_S", 3600)  # nobody else wakes the loop
    made = Gathering()
    made.post(tokens("a"), of=2)
    made.post(Finished("b", "stop"), of=0)
    assert [event.id for event in await anext(made.steps())] == ["a", "b"]


async def test_what_is_posted_while_a_step_is_taken_begins_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_JOIN_S", 3600)
    made = Gathering()
    steps = made.steps()
    made.post(tokens("a"), of=1)
    assert [event.id for event in await anext(steps)] == ["a"]
    made.post(tokens("a", 2), of=2)
    coming = asyncio.ensure_future(anext(steps))
    await asyncio.sleep(0)
    assert not coming.done()
    made.post(tokens("b", 2), of=2)
    assert [event.id for event in await coming] == ["a", "b"]


async def test_it_ends_after_what_was_posted() -> None:
    made = Gathering()
    made.post(tokens("a"), of=2)
    made.end()
    assert [[event.id for event in step] async for step in made.steps()] == [["a"]]


async def _events(made: Gathering, count: int) -> AsyncIterator[Tokens | Finished]:
    async for step in made.steps():
        for event in step:
            count -= 1
            yield event
        if not count:
            return
