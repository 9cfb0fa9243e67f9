"""One engine under several names: the base model's and those of its adapters. Each name has its own queue in Redis, and
so a consumer of its own, which sees a share of the engine as if it were a whole one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import cast

from queuechat.protocol import Logprob
from workers.engines.base import Engine, Finished, Prompt, Scorer, Step, Wearer

log = logging.getLogger(__name__)


class Share:
    """See `workers.engines.base.Engine`; all that it is asked wears one adapter ("" is none)."""

    def __init__(self, engine: Engine, adapter: str):
        self.caps, self.vocabulary = engine.caps, engine.vocabulary
        self._engine, self._adapter = engine, adapter
        self._ids: set[str] = set()
        self._steps: asyncio.Queue[Step | None] = asyncio.Queue()

    def start(self) -> None:
        """The engine was started already."""

    def admit(self, prompt: Prompt) -> None:
        self._ids.add(prompt.id)
        try:
            self._engine.admit(replace(prompt, adapter=self._adapter))
        except BaseException:
            self._ids.discard(prompt.id)
            raise

    def abort(self, id: str) -> None:
        if id in self._ids:
            self._engine.abort(id)

    async def steps(self) -> AsyncIterator[Step]:
        while (step := await self._steps.get()) is not None:
            yield step

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        with cast(Wearer, self._engine).wearing(self._adapter):
            return self._engine.embed(batch)

    def score(self, ids: Sequence[int], alternatives: int) -> list[Logprob]:
        with cast(Wearer, self._engine).wearing(self._adapter):
            return cast(Scorer, self._engine).score(ids, alternatives)

    def running(self) -> int:
        return len(self._ids)

    def close(self) -> None:
        """The engine is closed by whom it belongs to."""

    def take(self, step: Step) -> None:
        """What of a step is its own; a step without events is a sign of life to all that wait for one."""
        mine = [event for event in step if event.id in self._ids]
        self._ids.difference_update(event.id for event in mine if isinstance(event, Finished))
        if mine or (not step and self._ids):
            self._steps.put_nowait(mine)

    def over(self) -> None:
        """There are no more steps."""
        self._steps.put_nowait(None)


async def deal(engine: Engine, shares: Sequence[Share]) -> None:
    """Hands each share its part of every step, until the engine ends."""
    try:
        async for step in engine.steps():
            for share in shares:
                share.take(step)
    except Exception:
        log.exception("the engine's steps cannot be shared any more")
    finally:
        for share in shares:
            share.over()
