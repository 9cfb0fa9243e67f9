"""Sends many cases to a server at a time and holds the answers against its document."""

from __future__ import annotations

import asyncio

import httptools
import orjson

from tests.fuzz.generator import Sent
from tests.fuzz.mutants import Mutants
from tests.fuzz.tally import Document, Tally

AT_ONCE = 2  # more at a time, and what the loop is late would be the sum of many small things
_PATIENCE_S = 60


async def send_all(port: int, mutants: Mutants, cases: int, document: Document) -> Tally:
    """So many cases, to loopback."""
    tally = Tally()

    async def some() -> None:
        line = _Line(port)
        while tally.cases < cases:
            await _send(line, mutants.next(), document, tally)
        line.close()

    await asyncio.gather(*(some() for _ in range(min(AT_ONCE, cases))))
    return tally


async def _send(line: _Line, sent: Sent, document: Document, tally: Tally) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            answer = await line.ask(sent)
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        line.close()
        tally.count("mutants", sent.operation, None)
        tally.blame(f"{sent.operation}: {type(error).__name__}", _shown(sent))
        return
    tally.count("mutants", sent.operation, answer.status)
    if sent.method == "HEAD":
        return
    operation = f"{sent.method} {sent.operation.partition(' ')[2]}"
    told = orjson.loads(answer.body) if answer.kind == "application/json" and answer.body else None
    if fault := document.fault(operation, answer.status, answer.kind, told):
        tally.blame(f"{sent.operation}: {fault}", f"{_shown(sent)} -> {bytes(answer.body[:300])!r}")


class _Answer:
    """One response, as httptools calls it."""

    def __init__(self, method: str):
        self.body = bytearray()
        self.status, self.kind, self.ended, self.stays = 0, "", False, True
        self._bare = method == "HEAD"
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.kind = value.decode("latin-1").partition(";")[0]

    def on_headers_complete(self) -> None:
        self.status, self.stays = self.parser.get_status_code(), self.parser.should_keep_alive()
        self.ended = self._bare

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended = True


class _Line:
    """A connection that stays open for as long as the server likes; HTTP clients check what they send, this one does
    not."""

    def __init__(self, port: int):
        self._port = port
        self._pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: Sent) -> _Answer:
        """Raises OSError when the connection ends before the answer does."""
        answer, used = await self._ask(sent)
        if not answer.status and used:  # the server may end an idle connection at any time
            answer, used = await self._ask(sent)
        if not answer.ended:
            raise ConnectionError("the answer is not whole")
        return answer

    async def _ask(self, sent: Sent) -> tuple[_Answer, bool]:
        used = self._pair is not None
        reader, writer = self._pair = self._pair or await asyncio.open_connection("127.0.0.1", self._port)
        answer = _Answer(sent.method)
        try:
            writer.write(_written(sent))
            await writer.drain()
            while not answer.ended and (data := await reader.read(1 << 16)):
                answer.parser.feed_data(data)
        except ConnectionError:
            pass
        if not (answer.ended and answer.stays) or sent.method == "HEAD":
            self.close()
        return answer, used

    def close(self) -> None:
        if self._pair:
            self._pair[1].close()
        self._pair = None


def _written(sent: Sent) -> bytes:
    headers = {"host": "fuzz", "content-length": str(len(sent.body)), **sent.headers}
    lines = [f"{sent.method} {sent.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + sent.body


def _shown(sent: Sent) -> str:
    return f"{sent.method} {sent.target[:200]} {sent.headers} {sent.body[:600]!r}"
