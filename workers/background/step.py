"""A step of a batch: what one chore of arq does for it, from where the last one stopped.

    validating ──> failed
        │
    in_progress ──> finalizing ──> completed
        │
        ├──> expired                     its time ended
        └──> cancelling ──> cancelled    from validating as well

A step asks for `STEP_S` and ends then even if the batch does not; the next one reads from parts and logs how far it
came. So a crash costs what was not on the disk yet, and all of that can be had again from Redis.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from queuechat.batches import ENDED, Batch, Lease, get_batch
from queuechat.credentials import Bearer
from queuechat.dialects.lines import Fault
from queuechat.errors import FileMissing
from queuechat.files import File, add_file
from workers.background.asking import Asker, Outcome, line_id
from workers.background.desk import Desk
from workers.background.input import Finding, check, remaining
from workers.background.keeping import Keeper
from workers.background.parts import Parts
from workers.background.results import Results, write_results
from workers.background.window import Window

log = logging.getLogger(__name__)

STEP_S = 20.0

_UNRUN = {"cancelling": "batch_cancelled", "in_progress": "batch_expired", "finalizing": ""}
_LAST = {"cancelling": "cancelled", "in_progress": "expired", "finalizing": "completed"}


class Step:
    """Work on one batch under one lease."""

    def __init__(self, desk: Desk, lease: Lease):
        self._desk, self._lease = desk, lease
        self._parts = Parts(desk.parts / lease.id, lease.epoch)

    async def run(self) -> bool:
        """Whether the batch has ended.

        Raises:
            LeaseLost: somebody else has taken over.
            BusUnavailable: Redis does not answer.
        """
        while self._lease.status not in ENDED:
            batch = await get_batch(self._desk.bus, self._lease.id)
            self._lease.status = batch.status
            if batch.status == "validating":
                await self._validate(batch)
            elif batch.status == "in_progress" and batch.expires_at > time.time():
                if not await self._work(batch):
                    return False
            elif batch.status not in ENDED:
                await self._conclude(batch)
        await asyncio.to_thread(self._parts.drop)
        await self._lease.end()
        return True

    async def _validate(self, batch: Batch) -> None:
        async with Keeper(self._lease):
            found = await asyncio.to_thread(self._check, batch)
        if found.faults:
            errors = [fault._asdict() for fault in found.faults]
            await self._lease.write("validating", status="failed", failed_at=_now(), errors=errors)
        else:
            model = found.models.pop() if len(found.models) == 1 else None
            fields = {"total": found.total, "model": model, "in_progress_at": _now()}
            await self._lease.write("validating", status="in_progress", **fields)
        log.info("batch %s: %s", batch.id, self._lease.status)

    def _check(self, batch: Batch) -> Finding:
        try:
            with self._desk.store.open(batch.input_file_id) as content:
                self._parts.take_input(content)
        except FileMissing as error:
            return Finding(faults=[Fault("file_not_found", error.message, None, "input_file_id")])
        with self._parts.open_input() as content:
            return check(content, batch.endpoint, self._desk.line_limit)

    async def _work(self, batch: Batch) -> bool:
        """False when the step is over and the batch is not."""
        index = await asyncio.to_thread(self._parts.index)
        asker = self._asker(batch)
        counts = {"completed": sum(kept.ok for kept in index.values()), "failed": 0}
        counts["failed"] = len(index) - counts["completed"]

        async def keep(outcomes: Sequence[Outcome]) -> None:
            await asyncio.to_thread(self._parts.append, outcomes)
            for outcome in outcomes:
                counts["completed" if outcome.ok else "failed"] += 1

        window = Window(asker, self._desk.window, keep)
        left_s = min(STEP_S, batch.expires_at - time.time())
        alarm = asyncio.get_running_loop().call_later(max(left_s, 0), window.halt)
        try:
            with self._parts.open_input() as content:
                async with Keeper(self._lease, lambda: dict(counts), window.halt):
                    done = await window.run(remaining(content, index, batch.endpoint))
        finally:
            alarm.cancel()
        if done:
            await self._lease.write("in_progress", status="finalizing", finalizing_at=_now(), **counts)
        status = await self._lease.write(**counts)
        return status != "in_progress" or batch.expires_at <= time.time()

    def _asker(self, batch: Batch) -> Asker:
        return Asker(
            *(self._desk.client, self._desk.roster),
            bearer=Bearer(batch.tenant, models=tuple(batch.models)),
            expires_at=batch.expires_at,
            id_of=lambda line: line_id(batch.id, line),
            reasoning_field=self._desk.reasoning_field,
        )

    async def _withdraw(self, batch: Batch) -> None:
        """Cancel what waits or runs: it is among the first lines without a result, since lines are asked in order."""
        asker, index = self._asker(batch), await asyncio.to_thread(self._parts.index)
        if not self._parts.has_input:
            return
        with self._parts.open_input() as content:
            for line in itertools.islice(remaining(content, index, batch.endpoint), self._desk.window):
                await asker.withdraw(line)

    async def _conclude(self, batch: Batch) -> None:
        """Write the files, tell of them, end. Each part may be repeated by whoever takes over in between."""
        status = batch.status
        if not batch.filed:
            async with Keeper(self._lease):
                if status == "cancelling":
                    await self._withdraw(batch)
                results = await asyncio.to_thread(self._write, batch)
            if await self._lease.write(status, filed=True, **_fields(results)) != status:
                return
            batch = replace(batch, **_fields(results))
        for id, name in ((batch.output_file_id, "output"), (batch.error_file_id, "error")):
            if id:
                await add_file(self._desk.bus, self._record(batch, id, name))
        last = _LAST[status]
        await self._lease.write(status, status=last, **{f"{last}_at": _now()})
        log.info("batch %s: %s, %d answered, %d not", batch.id, last, batch.completed, batch.failed)

    def _write(self, batch: Batch) -> Results:
        code = _UNRUN[batch.status]
        return write_results(self._desk.store, self._parts, batch.id, batch.endpoint, code)

    def _record(self, batch: Batch, id: str, name: str) -> File:
        now = _now()
        expires_at = now + batch.output_expires_s if batch.output_expires_s else None
        size = self._desk.store.size(id)
        return File(id, batch.tenant, f"{batch.id}_{name}.jsonl", "batch_output", size, now, expires_at)


def _fields(results: Results) -> dict[str, Any]:
    row = asdict(results)
    del row["prompt_tokens"], row["generated"]
    return {**row, "usage": results.usage()}


def _now() -> int:
    return int(time.time())
