"""From what happened to figures, under the names and by the definitions of `vllm bench serve`.

TTFT: from sending a request to its first chunk. TPOT: the rest of the time to the last frame, by tokens after the
first. ITL: each gap between two chunks of an answer; a chunk may hold several tokens. E2EL: from sending to the last
frame. Only answers that came to their end count in them; the others are counted by kind.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, pstdev, quantiles
from typing import Literal

from queuechat.bench.driving import Run, in_flight
from queuechat.bench.streaming import Reading
from queuechat.errors import InvalidRequest

Measure = Literal["ttft", "tpot", "itl", "e2el"]
MEASURES: tuple[Measure, ...] = ("ttft", "tpot", "itl", "e2el")
OBJECTIVES: tuple[Measure, ...] = ("ttft", "tpot", "e2el")
Goals = Mapping[Measure, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds; percentiles are interpolated linearly, as numpy does."""

    mean: float
    median: float
    std: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """All 0 of nothing."""
        values = [1000 * value for value in seconds] or [0.0]
        cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
        return cls(fmean(values), cuts[49], pstdev(values), cuts[49], cuts[94], cuts[98])


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run comes to. Rates are per second of the whole run, from the first request to the last frame."""

    duration: float
    completed: int
    failed: int
    total_input_tokens: int
    total_output_tokens: int
    request_throughput: float
    request_goodput: float | None
    output_throughput: float
    total_token_throughput: float
    max_output_tokens_per_s: float
    max_concurrent_requests: int
    spreads: Mapping[Measure, Spread]
    errors: Mapping[str, int]
    finish_reasons: Mapping[str, int]
    chunks: int
    uncounted: int  #: answers whose tokens the server did not count: chunks stand in for them
    late_p99_ms: float  #: how long requests were sent after they were due
    generator_busy: float  #: CPU time of the generator by that of the run
    generator_us_per_token: float
    server_us_per_token: Mapping[str, float]  #: CPU time of watched processes, by name
    goals: Goals = field(default_factory=dict)
    warm_up_errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def tokens_per_chunk(self) -> float:
        return self.total_output_tokens / self.chunks if self.chunks else 0.0


def figures(run: Run, goals: Goals | None = None) -> Figures:
    """All figures of a run; `goals` are milliseconds that a good answer may take at most."""
    good, seconds = run.good, run.duration
    tokens = sum(reading.output_tokens for reading in good)
    asked = sum(reading.prompt_tokens or 0 for reading in good)
    kept = sum(_meets(reading, goals) for reading in good) if goals else None
    return Figures(
        duration=seconds,
        completed=len(good),
        failed=len(run.readings) - len(good),
        total_input_tokens=asked,
        total_output_tokens=tokens,
        request_throughput=len(good) / seconds,
        request_goodput=None if kept is None else kept / seconds,
        output_throughput=tokens / seconds,
        total_token_throughput=(tokens + asked) / seconds,
        max_output_tokens_per_s=peak(run),
        max_concurrent_requests=max((running for _, running in in_flight(run.readings)), default=0),
        spreads={measure: Spread.of(values(good, measure)) for measure in MEASURES},
        errors=dict(Counter(reading.failure for reading in run.readings if reading.failure)),
        finish_reasons=dict(Counter(reading.finish_reason or "none" for reading in good)),
        chunks=sum(len(reading.times) for reading in good),
        uncounted=sum(reading.completion_tokens is None for reading in good),
        late_p99_ms=Spread.of([reading.sent - reading.due for reading in run.readings]).p99,
        generator_busy=run.generator_cpu_s / seconds,
        generator_us_per_token=_by_token(run.generator_cpu_s, tokens),
        server_us_per_token={name: _by_token(cpu, tokens) for name, cpu in run.server_cpu_s.items()},
        goals=goals or {},
        warm_up_errors=run.warm_up_errors,
    )


def values(readings: Sequence[Reading], measure: Measure) -> list[float]:
    """Seconds, all that there are of a measure; TPOT only of answers of two tokens or more."""
    if measure == "itl":
        return [after - before for reading in readings for before, after in pairwise(reading.times)]
    if measure == "tpot":
        return [tpot(reading) for reading in readings if reading.output_tokens > 1]
    return [ttft(reading) if measure == "ttft" else e2el(reading) for reading in readings]


def ttft(reading: Reading) -> float:
    return reading.times[0] - reading.sent


def e2el(reading: Reading) -> float:
    return reading.ended - reading.sent


def tpot(reading: Reading) -> float:
    """0 of an answer of one token."""
    after_first = reading.output_tokens - 1
    return (e2el(reading) - ttft(reading)) / after_first if after_first > 0 else 0.0


def throughput(run: Run) -> list[tuple[float, float]]:
    """Tokens of each full second of the run (its start, its tokens); an answer's tokens lie evenly on its chunks."""
    seconds = [0.0] * max(int(run.duration), 1)
    for moment, tokens in _arrivals(run):
        if (second := int(moment - run.started)) < len(seconds):
            seconds[second] += tokens
    return [(float(start), tokens) for start, tokens in enumerate(seconds)]


def peak(run: Run) -> float:
    """The most tokens of any one second."""
    most, window, recent = 0.0, 0.0, deque[tuple[float, float]]()
    for moment, tokens in sorted(_arrivals(run)):
        recent.append((moment, tokens))
        window += tokens
        while recent[0][0] <= moment - 1:
            window -= recent.popleft()[1]
        most = max(most, window)
    return most


def _arrivals(run: Run) -> Iterator[tuple[float, float]]:
    """Each chunk of good answers, with its share of the tokens."""
    for reading in run.good:
        share = reading.output_tokens / len(reading.times)
        yield from ((moment, share) for moment in reading.times)


def parse_goals(words: Sequence[str]) -> dict[Measure, float]:
    """`ttft:200`, `tpot:50`, `e2el:3000`, in milliseconds, each or several in one string.

    Raises:
        InvalidRequest: one is none of these.
    """
    goals: dict[Measure, float] = {}
    for word in " ".join(words).split():
        name, _, limit = word.partition(":")
        measure = next((one for one in OBJECTIVES if one == name), None)
        if measure is None or not _positive(limit):
            raise InvalidRequest(
                f"--goodput {word!r} is no objective: use ttft:MS, tpot:MS or e2el:MS", param="goodput"
            )
        goals[measure] = float(limit)
    return goals


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _meets(reading: Reading, goals: Goals) -> bool:
    took = {"ttft": ttft(reading), "tpot": tpot(reading), "e2el": e2el(reading)}
    return all(1000 * took[name] <= limit for name, limit in goals.items())


def _by_token(cpu_s: float, tokens: int) -> float:
    return cpu_s / tokens * 1e6 if tokens else 0.0
