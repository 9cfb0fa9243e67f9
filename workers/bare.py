"""One engine driven in this process, with no queue before it: what `queuechat bench price` holds a worker against.

Standard input brings the spec as its first line, then a `Round` as JSON for each run. Standard output takes an empty
object once the engine runs, then what each round came to: `tokens`, `seconds`, and what went wrong, if anything did.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import orjson
import uvloop

from queuechat.protocol import Job, Sampling
from workers.building import build, speech_of
from workers.engines.base import Engine, Finished, Prompt, Step, Tokens
from workers.models import Spec
from workers.passing import in_passing
from workers.prompting import Speech, prompt_of

_DELIVERED = ("stop", "length")


@dataclass(frozen=True, slots=True)
class Round:
    """Conversations to answer, so many at a time, each with so many tokens whatever the model says."""

    conversations: list[list[dict[str, Any]]]
    output_lens: list[int]
    concurrency: int
    temperature: float = 0.0


@dataclass(slots=True)
class Outcome:
    """Tokens that were written, the seconds from the first request to the last end, and how the first failure was."""

    tokens: int = 0
    seconds: float = 0.0
    failure: str = ""


class Driver:
    """Keeps an engine that runs as busy as a round wants it."""

    def __init__(self, engine: Engine, speech: Speech):
        self._engine, self._speech = engine, speech
        self._steps: AsyncIterator[Step] = engine.steps()
        self._rounds = 0

    async def run(self, asked: Round) -> Outcome:
        """All of a round. Templates and tokens are a part of it, as they are of a worker's work."""
        self._rounds += 1
        outcome, waiting, running = Outcome(), self._prompts(asked), 0
        started = time.perf_counter()
        for prompt in _first(waiting, asked.concurrency):
            self._engine.admit(prompt)
            running += 1
        while running:
            for event in await anext(self._steps):
                if isinstance(event, Tokens):
                    outcome.tokens += len(event.ids)
                elif isinstance(event, Finished):
                    running -= 1
                    outcome.failure = outcome.failure or ("" if event.reason in _DELIVERED else event.reason)
                    for prompt in _first(waiting, 1):
                        self._engine.admit(prompt)
                        running += 1
        outcome.seconds = time.perf_counter() - started
        return outcome

    def _prompts(self, asked: Round) -> Iterator[Prompt]:
        for number, (messages, most) in enumerate(zip(asked.conversations, asked.output_lens, strict=True)):
            sampling = Sampling(temperature=asked.temperature, seed=number)
            id = f"{self._rounds}.{number}"
            job = Job(id, "bare", messages=messages, sampling=sampling, max_tokens=most, ignore_eos=True)
            yield prompt_of(job, id, self._speech.ids_of(job), [], self._speech, self._engine.caps)


def _first(waiting: Iterator[Prompt], count: int) -> Iterator[Prompt]:
    return (prompt for _, prompt in zip(range(count), waiting, strict=False))


async def _main(answers: BinaryIO) -> None:
    spec = Spec.decode(await asyncio.to_thread(sys.stdin.buffer.readline))
    engine = await in_passing(build, spec)
    await in_passing(engine.start)
    driver = Driver(engine, speech_of(engine, spec))
    answers.write(b"{}\n")
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        answers.write(orjson.dumps(asdict(await driver.run(Round(**orjson.loads(line))))) + b"\n")


def main() -> None:
    """Entry of `python -m workers.bare`."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # engines in native code write where they like
    uvloop.run(_main(answers))
    os._exit(0)  # engines own threads that a normal exit would wait for


if __name__ == "__main__":
    main()
