"""What arq calls. Each may run twice, or at the same time as another: the lease of the batch decides."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from queuechat.batches import Lease, open_batches
from queuechat.errors import LeaseLost, QueuechatError
from queuechat.files import forget_file, list_expired, unrecorded
from workers.background.desk import Desk
from workers.background.step import Step

log = logging.getLogger(__name__)

_STRAY_S = 30 * 24 * 3600.0  # results of a batch wait for their record as long as no background process runs


async def advance(ctx: dict[str, Any], batch_id: str) -> None:
    """One step of a batch; what is left is a chore of its own."""
    desk: Desk = ctx["desk"]
    lease = await Lease.take(desk.bus, batch_id)
    if lease is None:
        return
    over = True
    try:
        over = await Step(desk, lease).run()
    except LeaseLost:
        return
    except QueuechatError as error:  # whoever looks for batches that nobody runs goes on with it
        log.warning("batch %s: %s", batch_id, error.message)
    finally:
        with contextlib.suppress(QueuechatError):
            await lease.leave()
    if not over:
        await desk.chores.add("advance", batch_id, id=f"{batch_id}:{lease.epoch}")


async def look(ctx: dict[str, Any]) -> None:
    """Take up batches that nobody runs: new ones that nobody was told of, and those whose worker has died."""
    desk: Desk = ctx["desk"]
    for batch_id, epoch in await open_batches(desk.bus):
        id = f"{batch_id}:{epoch}"
        await desk.chores.add("advance", batch_id, id=id)
        if await desk.chores.begun(id):  # by one that died before it had the lease, or will have it in a moment
            await desk.chores.add("advance", batch_id, id=f"{id}:again")


async def sweep(ctx: dict[str, Any]) -> None:
    """Files whose time is over."""
    desk: Desk = ctx["desk"]
    while files := await list_expired(desk.bus):
        for file in files:
            await asyncio.to_thread(desk.store.delete, file.id)
            await forget_file(desk.bus, file)
        log.info("%d files had expired", len(files))


async def tidy(ctx: dict[str, Any]) -> None:
    """Content whose writer died before it could record it, or after it had dropped the record."""
    desk: Desk = ctx["desk"]
    aged = await asyncio.to_thread(desk.store.aged, time.time() - _STRAY_S)
    for id in await unrecorded(desk.bus, aged):
        log.info("content %s has no record", id)
        await asyncio.to_thread(desk.store.delete, id)
