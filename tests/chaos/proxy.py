"""A bad network in front of a server: slow, cut, deaf, or such that what was asked is done and the answer is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field

_CHUNK = 65536


@dataclass(slots=True)
class Direction:
    """One way through the proxy."""

    delay_s: float = 0.0
    deaf: bool = False  #: what comes is swallowed
    swallowed: int = 0  # bytes
    lost: asyncio.Event = field(default_factory=asyncio.Event)  # something was swallowed

    def swallow(self, data: bytes) -> None:
        self.swallowed += len(data)
        self.lost.set()

    def listen(self, *, deaf: bool) -> None:
        self.deaf = deaf
        self.lost.clear()


class Proxy:
    """`async with Proxy(port)` listens on a port of its own for a server on loopback."""

    def __init__(self, upstream: int):
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.up, self.down = Direction(), Direction()
        self.accepted = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        self.cut()

    def cut(self) -> int:
        """Reset every connection; answers how many ends that were."""
        ends = list(self._open)
        for end in ends:
            _reset(end)
        return len(ends)

    async def lose_replies(self, for_s: float = 0.0) -> None:
        """What is asked is done, but nothing comes back; after `for_s` (and a first loss) all is reset."""
        self.down.listen(deaf=True)
        try:
            await asyncio.sleep(for_s)
            await self.down.lost.wait()
        finally:
            self.cut()
            self.down.listen(deaf=False)

    async def black_hole(self, for_s: float, *directions: Direction) -> None:
        """Accept and swallow, both ways unless told which; afterwards all is reset."""
        for direction in directions or (self.up, self.down):
            direction.listen(deaf=True)
        try:
            await asyncio.sleep(for_s)
        finally:
            for direction in directions or (self.up, self.down):
                direction.listen(deaf=False)
            self.cut()  # a stream of bytes with a hole in it is of no use to anybody

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            _reset(writer)
            return
        self._open |= {writer, upstream[1]}
        ways = [
            asyncio.create_task(_pump(reader, upstream[1], self.up)),
            asyncio.create_task(_pump(upstream[0], writer, self.down)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._open -= {writer, upstream[1]}
            for end in (writer, upstream[1]):
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            if way.delay_s:
                await asyncio.sleep(way.delay_s)
            if way.deaf:
                way.swallow(data)
            else:
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once and with RST, as a firewall or a dying host does."""
    with contextlib.suppress(OSError):
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
