"""The native stream: each event carries an id, so that a client that lost its connection goes on where it was.

Server-sent events as the HTML standard has them; the id is `<offset>.<hash>`: tokens delivered, and the hash of all of
them, which tells whether it is still the same stream.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import problems
from api.drain import ClientGone
from api.house import House
from api.writing import Writer
from queuechat.client import Answer, Event, Waiting
from queuechat.protocol import Chunk

_RETRY_MS = 1000


class EventStream(Response):
    """The events of one job. Sent as they come, or as fast as the client reads."""

    def __init__(self, house: House, answer: Answer, deadline_s: float, places: contextlib.AsyncExitStack):
        super().__init__()
        del self.headers["content-length"]
        self.headers.update(
            {
                "content-type": "text/event-stream",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
                "x-queuechat-request-id": answer.id,
            }
        )
        self._house, self._answer, self._deadline_s, self._places = house, answer, deadline_s, places
        self._hash = answer.cursors[0].hash.copy()
        self._at = answer.cursors[0].next

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = Writer(send)
        try:
            await self._house.drain.guard(self._run(writer), receive, self._deadline_s)
        except ClientGone:
            return
        except Exception as failure:
            error = problems.within_stream(failure, self._answer.id, self._house.metrics)
            await writer.write(_frame("failure", {"error": problems.body_of(error)["error"]}, self._id), more=False)
        finally:
            async with self._places:
                await self._answer.close()

    async def _run(self, writer: Writer) -> None:
        await writer.begin(self.raw_headers)
        await writer.write(f"retry: {_RETRY_MS}\n\n".encode())
        with self._house.metrics.open_streams.track_inprogress():
            async with writer.kept_alive(b": ping\n\n"):
                while events := await self._answer.take_patiently():
                    await writer.write(b"".join(self._render(event) for _, event in events))
        await writer.write(b"", more=False)

    def _render(self, event: Event) -> bytes:
        if isinstance(event, Waiting):
            return _frame("queued", {"position": event.place, "eta_s": event.eta_s}, self._id)
        if isinstance(event, Chunk):
            self._at = event.end
            self._hash.update(event.hashed)
            body: dict[str, object] = {"offset": event.offset, "count": event.count, "text": event.text}
            body |= {"ids": event.ids} if event.ids else {}
            return _frame("chunk", body | ({"vector": event.vector} if event.vector else {}), self._id)
        return _frame("end", asdict(event), f"{self._id}.end")

    @property
    def _id(self) -> str:
        return f"{self._at}.{self._hash.value}" if self._at else "0"


def _frame(kind: str, body: dict[str, object], id: str) -> bytes:
    return f"id: {id}\nevent: {kind}\ndata: ".encode() + orjson.dumps(body) + b"\n\n"
