"""The body of a stream as it goes out: what there is, and a comment whenever there was nothing for a while."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable

from starlette.types import Send

from queuechat.failpoints import failpoint

KEEP_ALIVE_S = 10.0


class Writer:
    """One response."""

    def __init__(self, send: Send):
        self._send = send
        self._last = 0.0

    async def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send status 200 and the headers."""
        await self._send({"type": "http.response.start", "status": 200, "headers": list(headers)})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        self._last = time.monotonic()
        failpoint("write.before")
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        failpoint("write.after")

    @contextlib.asynccontextmanager
    async def kept_alive(self, comment: bytes) -> AsyncIterator[None]:
        """Within the block nothing is silent for longer than `KEEP_ALIVE_S`; readers skip `comment`."""
        pulse = asyncio.create_task(self._pulse(comment))
        try:
            yield
        finally:
            pulse.cancel()

    async def _pulse(self, comment: bytes) -> None:
        while True:
            quiet = time.monotonic() - self._last
            if quiet >= KEEP_ALIVE_S:
                await self.write(comment)
                quiet = 0.0
            await asyncio.sleep(KEEP_ALIVE_S - quiet)
