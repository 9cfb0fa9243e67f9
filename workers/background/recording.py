"""From Redis to the log files: the chore that writes what people voted and said."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from queuechat.backlog import Writer, forget_lines, read_lines
from queuechat.bus import Bus
from queuechat.errors import LeaseLost, QueuechatError
from queuechat.failpoints import failpoint
from workers.background.desk import Desk
from workers.background.logbook import Logbook

log = logging.getLogger(__name__)

_AT_A_TIME = 100  # lines, each a whole conversation


async def write_logs(ctx: dict[str, Any]) -> None:
    """Write all lines that wait, unless another process does. What cannot be written waits on."""
    desk: Desk = ctx["desk"]
    try:
        writer = await Writer.take(desk.bus)
        if writer is None:
            return
        try:
            await _write(desk.bus, Logbook(desk.arena), writer)
        finally:
            with contextlib.suppress(QueuechatError):
                await writer.leave()
    except LeaseLost as error:
        log.warning("%s", error)
    except QueuechatError as error:
        log.warning("log lines wait in Redis: %s", error.message)
    except OSError as error:
        log.error("log lines wait in Redis, they cannot be written to %s: %s", desk.arena, error)


async def _write(bus: Bus, book: Logbook, writer: Writer) -> None:
    while entries := await read_lines(bus, _AT_A_TIME):
        failpoint("record.before")
        await asyncio.to_thread(book.append, entries)
        failpoint("record.after")
        await forget_lines(bus, entries)
        await writer.keep()
