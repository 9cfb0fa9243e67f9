"""Many live streams for a long time: whether chunks come when they should, all of them, in memory that stays flat.

Echo says a token of every stream at each tick of its rate, so the schedule of a stream is known but for its start: the
offset of a chunk is its arrival less the moment, from the stream's first token on, at which its own first token was
due. The smallest offset of this and the last ten seconds is taken as no delay, and every chunk's delay is its offset
above that. So a delay holds all between the worker's clock and the reader: a worker that ticks late, Redis, the API,
the network, this process. An echo that stops for more than a tick goes on from there and does not catch up: this
counts against every chunk for ten to twenty seconds, then as slip.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import linear_regression

from queuechat.bench.connections import clock
from queuechat.bench.driving import Pace, Run, drive
from queuechat.bench.metrics import Spread
from queuechat.bench.processes import Processes
from queuechat.bench.stack import Stack
from queuechat.bench.streaming import Reading
from queuechat.bench.target import Target
from queuechat.bench.workload import Ask

WINDOW_S = 10.0
MOST_TOKENS = 7000  # of one stream: echo's context holds 8192
SETTLE_S = 5.0  # from the start, a fifth of the whole at most: streams open and processes warm up, nothing counts


class Heard(Reading):
    """An answer of echo: where each chunk stands in it, and what it said. Each of echo's words begins with a space."""

    def __init__(self, due: float):
        super().__init__(due)
        self.places = array("q")  #: of each chunk's first token
        self.tokens = 0
        self._said = hashlib.sha256()

    def chunk(self, text: str, at: float) -> None:
        super().chunk(text, at)
        self.places.append(self.tokens)
        self.tokens += text.count(" ")
        self._said.update(text.encode())

    @property
    def digest(self) -> str:
        return self._said.hexdigest()


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a part of the stack, in MiB; growth is the slope of a line through all samples."""

    first: float
    last: float
    peak: float
    growth_per_minute: float


@dataclass(frozen=True, slots=True)
class Endurance:
    """What came of it. `gaps` are streams that did not say exactly what all others said, or not all of it."""

    streams: int
    rate: float
    duration: float
    chunks: int
    tokens: int
    delay: Spread
    delay_max_ms: float
    slip_max_ms: float
    gaps: int
    failed: int
    errors: Mapping[str, int]
    memory: Mapping[str, Memory]
    cores: Mapping[str, float]  #: CPU time of each part by the duration; `generator` is this process

    @property
    def clean(self) -> bool:
        return not self.gaps and not self.failed


async def soak(stack: Stack, *, streams: int, rate: float, minutes: float, most_tokens: int = MOST_TOKENS) -> Endurance:
    """Keep so many streams of `rate` tokens a second open; all ask the same, so all must say the same.

    A stream that has said `most_tokens` is followed by another one.
    """
    tokens = max(1, round(rate * 60 * minutes))
    waves = -(-tokens // most_tokens)
    ask = Ask("soak", -(-tokens // waves))
    targets = [Target(url, "echo", extra={"seed": 0}) for url in stack.urls]
    pace = Pace(concurrency=streams, timeout_s=60 * minutes + 120)
    settle_s = min(SETTLE_S, 12 * minutes)
    watch = _Watch(stack, settle_s, 60 * minutes / 600)
    sampling = asyncio.create_task(watch.run())
    try:
        run = await drive(targets, [ask] * (streams * waves), pace, watched=stack.pids, make=Heard)
    finally:
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
    return endurance(run, streams, rate, ask.output_len, settle_s, watch.memory())


def endurance(
    run: Run, streams: int, rate: float, tokens: int, settle_s: float, memory: Mapping[str, Memory]
) -> Endurance:
    """The figures of a run whose answers were to be of so many tokens each."""
    heard = [reading for reading in run.readings if isinstance(reading, Heard)]
    good = [reading for reading in heard if reading.good]
    digests = Counter(reading.digest for reading in good if reading.tokens == tokens)
    late = [delay for reading in good for delay in delays(reading, rate, run.started + settle_s)]
    cpu = {**run.server_cpu_s, "generator": run.generator_cpu_s}
    return Endurance(
        streams=streams,
        rate=rate,
        duration=run.duration,
        chunks=sum(len(reading.times) for reading in good),
        tokens=sum(reading.tokens for reading in good),
        delay=Spread.of(late),
        delay_max_ms=1000 * max(late, default=0.0),
        slip_max_ms=1000 * max((slip(reading, rate) for reading in good), default=0.0),
        gaps=len(good) - max(digests.values(), default=0),
        failed=len(heard) - len(good),
        errors=dict(Counter(reading.failure for reading in heard if reading.failure)),
        memory=memory,
        cores={name: seconds / run.duration for name, seconds in cpu.items()},
    )


def delays(reading: Heard, rate: float, since: float = 0.0) -> list[float]:
    """Seconds by which each chunk that came after `since` was late."""
    bases = _bases(reading, rate)
    late = []
    for at, place in zip(reading.times, reading.places, strict=True):
        window = _window(reading, at)
        base = min(bases[window], bases.get(window - 1, bases[window]))
        if at >= since:
            late.append(at - place / rate - base)
    return late


def slip(reading: Heard, rate: float) -> float:
    """Seconds by which the stream's schedule has moved since its beginning."""
    bases = list(_bases(reading, rate).values())
    return bases[-1] - bases[0] if bases else 0.0


def _bases(reading: Heard, rate: float) -> dict[int, float]:
    """The smallest offset of each window."""
    bases: dict[int, float] = {}
    for at, place in zip(reading.times, reading.places, strict=True):
        window = _window(reading, at)
        bases[window] = min(bases.get(window, float("inf")), at - place / rate)
    return bases


def _window(reading: Heard, at: float) -> int:
    return int((at - reading.times[0]) / WINDOW_S)


class _Watch:
    """Samples the memory of a stack's parts."""

    def __init__(self, stack: Stack, settle_s: float, every_s: float):
        self._parts = {name: Processes(pids) for name, pids in stack.pids.items()}
        self._settle_s, self._every_s = settle_s, max(every_s, 0.25)
        self._moments: list[float] = []
        self._samples: dict[str, list[float]] = {name: [] for name in self._parts}

    async def run(self) -> None:
        started = clock()
        while True:
            await asyncio.sleep(self._every_s)
            if clock() - started >= self._settle_s:
                self._moments.append(clock() - started)
                for name, part in self._parts.items():
                    self._samples[name].append(part.rss() / (1 << 20))

    def memory(self) -> dict[str, Memory]:
        """Nothing before a second sample was taken."""
        return {name: _memory(self._moments, row) for name, row in self._samples.items() if len(row) > 1}


def _memory(moments: Sequence[float], samples: Sequence[float]) -> Memory:
    return Memory(samples[0], samples[-1], max(samples), 60 * linear_regression(moments, samples).slope)
