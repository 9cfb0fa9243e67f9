"""A window over the lines of a batch: so many are asked at a time, and the next one when one has its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from queuechat.dialects.lines import Line
from workers.background.asking import Asker, Outcome

Keep = Callable[[Sequence[Outcome]], Awaitable[None]]


class Window:
    """`run` asks all lines, `size` at a time, and hands outcomes to `keep` as they come."""

    def __init__(self, asker: Asker, size: int, keep: Keep, *, cancels: bool = False):
        """`cancels`: what is asked when it is halted is cancelled, instead of going on with nobody there."""
        self._asker, self._size, self._keep, self._cancels = asker, size, keep, cancels
        self._halt = asyncio.Event()
        self._asked: dict[asyncio.Task[Outcome | None], Line] = {}
        self._late = False

    def halt(self) -> None:
        """Ask nothing more, and return."""
        self._halt.set()

    async def run(self, lines: Iterator[Line]) -> bool:
        """True when every line has its outcome; False when it was halted, or time ended, before that."""
        halt = asyncio.create_task(self._halt.wait())
        try:
            while not self._halt.is_set():
                while len(self._asked) < self._size and (line := next(lines, None)):
                    self._asked[asyncio.create_task(self._asker.answer(line))] = line
                if not self._asked:
                    return not self._late
                await asyncio.wait({*self._asked, halt}, return_when=asyncio.FIRST_COMPLETED)
                await self._collect()
            return False
        finally:
            for task in (*self._asked, halt):
                task.cancel()
            await asyncio.gather(*self._asked, halt, return_exceptions=True)
            if self._cancels:
                await asyncio.gather(*(self._asker.withdraw(line) for line in self._asked.values()))

    async def _collect(self) -> None:
        """Keep what has come."""
        ended = [task for task in self._asked if task.done()]
        for task in ended:
            del self._asked[task]
        outcomes = [task.result() for task in ended]
        self._late = self._late or None in outcomes
        if kept := [outcome for outcome in outcomes if outcome]:
            await self._keep(kept)
            await self._asker.let_go(kept)
