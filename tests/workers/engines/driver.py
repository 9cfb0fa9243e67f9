"""Runs an engine the way a worker does: one task reads its steps, everyone else waits for events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from queuechat.protocol import Grammar, Job, Logprob, Sampling
from workers.engines.base import Engine, Finished, Prompt, Step, Tokens
from workers.engines.remote_provider import all_given

PATIENCE_S = 240.0  # a safety net, not a measurement
GREEDY = Sampling(temperature=0.0)


@dataclass
class Transcript:
    """All that came for one sequence, in order."""

    events: list[Tokens | Finished] = field(default_factory=list)

    @property
    def chunks(self) -> list[Tokens]:
        return [event for event in self.events if isinstance(event, Tokens)]

    @property
    def ids(self) -> list[int]:
        return [id for chunk in self.chunks for id in chunk.ids]

    @property
    def written(self) -> int:
        """How many tokens were made of it."""
        return self.end.usage.tokens if self.end.usage else len(self.ids)

    @property
    def logprobs(self) -> list[Logprob]:
        return [logprob for chunk in self.chunks for logprob in chunk.logprobs]

    @property
    def ends(self) -> list[Finished]:
        return [event for event in self.events if isinstance(event, Finished)]

    @property
    def end(self) -> Finished:
        (end,) = self.ends
        return end


class Driver:
    """`engine` is started; `kind` is the name it goes by in the suite."""

    def __init__(self, kind: str, engine: Engine):
        self.kind = kind
        self.engine = engine
        self.transcripts: defaultdict[str, Transcript] = defaultdict(Transcript)
        self.events: list[Tokens | Finished] = []  # of all sequences, in order
        self.sizes: list[int] = []  # of each step, in events
        self.over = asyncio.Event()
        self.patience_s = PATIENCE_S
        self._news = asyncio.Condition()
        self._named = 0
        self._reader = asyncio.create_task(self._read())

    def prompt(
        self,
        text: str,
        max_new: int,
        *,
        prefix: Sequence[int] = (),
        sampling: Sampling = GREEDY,
        stop: frozenset[int] = frozenset(),
        logprobs: int | None = None,
        grammar: Grammar | None = None,
    ) -> Prompt:
        """A sequence under a fresh name. Forms are for chats where a provider elsewhere answers."""
        self._named += 1
        id, asked = f"s{self._named}", None
        ids = self.engine.vocabulary.encode(text, add_special=True)
        if self.engine.caps.units == "bytes" and grammar is not None:
            turn, given = {"role": "user", "content": text}, all_given(sampling)
            asked = Job(
                id, "", [turn], sampling=sampling, max_tokens=max_new, logprobs=logprobs, grammar=grammar, given=given
            )
        return Prompt(id, ids, max_new, tuple(prefix), stop, sampling, logprobs, grammar, asked=asked)

    async def run(self, *prompts: Prompt) -> list[Transcript]:
        """Admits them all at once and waits for their ends."""
        for prompt in prompts:
            self.engine.admit(prompt)
        return [await self.finished(prompt.id) for prompt in prompts]

    async def ids(
        self, text: str, max_new: int, *, prefix: Sequence[int] = (), sampling: Sampling = GREEDY
    ) -> list[int]:
        """The tokens of one sequence, run alone."""
        (transcript,) = await self.run(self.prompt(text, max_new, prefix=prefix, sampling=sampling))
        return transcript.ids

    async def finished(self, id: str) -> Transcript:
        return await self.until(id, lambda transcript: bool(transcript.ends))

    async def speaking(self, id: str) -> Transcript:
        """Waits for the first token."""
        return await self.until(id, lambda transcript: bool(transcript.chunks))

    async def until(self, id: str, done: Callable[[Transcript], bool]) -> Transcript:
        """Waits for an event after which `done` holds."""
        async with asyncio.timeout(self.patience_s), self._news:
            await self._news.wait_for(lambda: done(self.transcripts[id]))
        return self.transcripts[id]

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await asyncio.to_thread(self.engine.close)

    async def _read(self) -> None:
        async for step in self.engine.steps():
            self._note(step)
            async with self._news:
                self._news.notify_all()
        self.over.set()

    def _note(self, step: Step) -> None:
        self.events += step
        self.sizes.append(len(step))
        for event in step:
            self.transcripts[event.id].events.append(event)
