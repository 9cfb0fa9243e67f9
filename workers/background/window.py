"""A window over the lines of a batch: so many are asked at a time, and the next one when one has its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from queuechat.dialects.lines import Line
from workers.background.asking import Asker, Outcome

Keep = Callable[[Sequence[Outcome]], Awaitable[None]]


class Window:
    """`run` asks all lines, `size` at a time, and hands outcomes to `keep` as they come."""

    def __init__(self, asker: Asker, size: int, keep: Keep):
        self._asker, self._size, self._keep = asker, size, keep
        self._halt = asyncio.Event()
        self._late = False

    def halt(self) -> None:
        """Ask nothing more, and return. What was asked goes on."""
        self._halt.set()

    async def run(self, lines: Iterator[Line]) -> bool:
        """True when every line has its outcome; False when it was halted, or time ended, before that."""
        halt = asyncio.create_task(self._halt.wait())
        asked: set[asyncio.Task[Outcome | None]] = set()
        try:
            while not self._halt.is_set():
                while len(asked) < self._size and (line := next(lines, None)):
                    asked.add(asyncio.create_task(self._asker.answer(line)))
                if not asked:
                    return not self._late
                await asyncio.wait({*asked, halt}, return_when=asyncio.FIRST_COMPLETED)
                asked = await self._collect(asked)
            return False
        finally:
            for task in (*asked, halt):
                task.cancel()
            await asyncio.gather(*asked, halt, return_exceptions=True)

    async def _collect(self, asked: set[asyncio.Task[Outcome | None]]) -> set[asyncio.Task[Outcome | None]]:
        """Keep what has come; the rest."""
        ended = {task for task in asked if task.done()}
        outcomes = [task.result() for task in ended]
        self._late = self._late or None in outcomes
        if kept := [outcome for outcome in outcomes if outcome]:
            await self._keep(kept)
        return asked - ended
