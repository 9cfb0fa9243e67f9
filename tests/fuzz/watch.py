"""How late an event loop is, and whether its own work or a busy machine made it so."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

BEAT_S = 0.005
STALL_S = 0.05
_FRAMES = 6  # of the stack, innermost last
_KEPT = 20


@dataclass(frozen=True, slots=True)
class Stall:
    """The loop was `late_ms` behind. `own_ms` is what its thread computed meanwhile: where it is much less, others had
    the processor. `running` is its stack, as soon as anybody could look."""

    late_ms: float
    own_ms: float
    running: list[str] = field(default_factory=list)


class Watch:
    """Beats in a loop, and looks from a thread at what it does whenever a beat is overdue."""

    def __init__(self) -> None:
        self.longest = self.longest_own = Stall(0, 0)
        self.stalls: list[Stall] = []
        self.own = 0  #: stalls of which most was our own work
        self.beats = 0
        self._due = float("inf")
        self._seen: list[str] = []
        self._loop_thread = threading.get_ident()
        self._over = threading.Event()

    def report(self) -> dict[str, Any]:
        worst = sorted(self.stalls, key=lambda stall: -stall.own_ms)[:_KEPT]
        return {
            "beats": self.beats,
            "longest_ms": self.longest.late_ms,
            "longest_of_own_work": asdict(self.longest_own),
            f"over_{STALL_S * 1000:.0f}_ms": len(self.stalls),
            f"over_{STALL_S * 1000:.0f}_ms_of_own_work": self.own,
            "stalls": [asdict(stall) for stall in worst],
        }

    @contextlib.asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """Within the block the running loop is watched."""
        looker = threading.Thread(target=self._look, name="watch", daemon=True)
        looker.start()
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            self._over.set()
            await asyncio.to_thread(looker.join)

    async def _beat(self) -> None:
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            self._due = began + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._note(time.perf_counter() - began - BEAT_S, time.thread_time() - worked)

    def _note(self, late_s: float, own_s: float) -> None:
        self.beats += 1
        stall = Stall(round(late_s * 1000, 1), round(min(own_s, late_s) * 1000, 1), self._seen)
        self._seen = []
        self.longest = max(self.longest, stall, key=lambda one: one.late_ms)
        if late_s > STALL_S:
            self.stalls.append(stall)
        if stall.own_ms > self.longest_own.own_ms:
            self.longest_own = stall
        self.own += stall.own_ms > STALL_S * 1000

    def _look(self) -> None:
        while not self._over.wait(BEAT_S):
            if not self._seen and time.perf_counter() > self._due + STALL_S / 2:
                frame = sys._current_frames().get(self._loop_thread)
                stack = traceback.extract_stack(frame)[-_FRAMES:] if frame else []
                self._seen = [f"{step.filename.rpartition('/')[2]}:{step.lineno} {step.name}" for step in stack]
