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
    """One response. `comment` is what keeps the connection alive; it must be one that its readers skip."""

    def __init__(self, send: Send, comment: bytes):
        self._send, self._comment = send, comment
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
    async def kept_alive(self) -> AsyncIterator[None]:
        """Within the block nothing is silent for longer than `KEEP_ALIVE_S`."""
        pulse = asyncio.create_task(self._pulse())
        try:
            yield
        finally:
            pulse.cancel()

    async def _pulse(self) -> None:
        while True:
            quiet = time.monotonic() - self._last
            if quiet >= KEEP_ALIVE_S:
                await self.write(self._comment)
                quiet = 0.0
            await asyncio.sleep(KEEP_ALIVE_S - quiet)
