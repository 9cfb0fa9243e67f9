"""Which answer each open page is waiting for, so that Stop, a closed page and a shutdown find it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Turns:
    """Stop signals of the running answers, by page."""

    def __init__(self) -> None:
        self._running: dict[str, set[asyncio.Event]] = {}

    @property
    def running(self) -> int:
        return sum(len(signals) for signals in self._running.values())

    def busy(self, page: str) -> bool:
        return page in self._running

    @contextlib.contextmanager
    def begin(self, page: str) -> Iterator[asyncio.Event]:
        """The signal that stops an answer of this page; it is found as long as the answer runs."""
        signal = asyncio.Event()
        self._running.setdefault(page, set()).add(signal)
        try:
            yield signal
        finally:
            self._running[page].discard(signal)
            if not self._running[page]:
                del self._running[page]

    def stop(self, page: str) -> None:
        """Stop what this page is waiting for; harmless when that is nothing."""
        for signal in self._running.get(page, ()):
            signal.set()

    async def ended(self, page: str, patience_s: float) -> None:
        """Stop this page's answers and wait until they have ended, or patience ends."""
        self.stop(page)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self.busy(page):
                    await asyncio.sleep(0.02)

    async def stop_all(self, patience_s: float) -> None:
        """Stop everything and wait until it has ended, or patience ends."""
        for page in list(self._running):
            self.stop(page)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._running:
                    await asyncio.sleep(0.02)
