"""How a run is told: to people as a table, to programs as the JSON that `vllm bench serve` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from rich.console import Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from queuechat.bench.driving import Run
from queuechat.bench.metrics import Figures, Measure, e2el, ttft

_TITLES: dict[Measure, tuple[str, str]] = {
    "ttft": ("Time to first token", "TTFT"),
    "tpot": ("Time per output token (without the first)", "TPOT"),
    "itl": ("Inter-token latency (per chunk)", "ITL"),
    "e2el": ("End-to-end latency", "E2EL"),
}
_BUSY = 0.8  # of a core: beyond it the generator may be what was measured
_LATE_MS = 20.0


def document(figures: Figures, facts: Mapping[str, Any], run: Run | None = None) -> dict[str, Any]:
    """vLLM's fields, and our own after them. With a run, what each request did as well (its `--save-detailed`).

    `facts` say what was run: model_id, num_prompts, request_rate, ….
    """
    told = asdict(figures)
    spreads = told.pop("spreads")
    flat = {f"{name}_{measure}_ms": value for measure, spread in spreads.items() for name, value in spread.items()}
    told["tokens_per_chunk"] = figures.tokens_per_chunk
    return {**facts, **told, **flat, **(_details(run) if run else {})}


def _details(run: Run) -> dict[str, Any]:
    readings = run.readings
    return {
        "input_lens": [reading.prompt_tokens or 0 for reading in readings],
        "output_lens": [reading.output_tokens if reading.good else 0 for reading in readings],
        "start_times": [reading.sent - run.started for reading in readings],
        "ttfts": [ttft(reading) if reading.good else 0.0 for reading in readings],
        "itls": [[after - before for before, after in pairwise(reading.times)] for reading in readings],
        "e2els": [e2el(reading) if reading.good else 0.0 for reading in readings],
        "failures": [reading.failure or "" for reading in readings],
    }


def shown(figures: Figures, facts: Mapping[str, Any], title: str = "Serving benchmark result") -> Group:
    """The figures for people, and below them whatever makes them less than they seem."""
    rows = _table()
    for label, value in _rows(figures, facts):
        rows.add_row(label, value)
    parts: list[Any] = [Rule(title, characters="="), rows]
    for measure, (heading, short) in _TITLES.items():
        spread = figures.spreads[measure]
        part = _table()
        for name, ms in (("Mean", spread.mean), ("P50", spread.p50), ("P95", spread.p95), ("P99", spread.p99)):
            part.add_row(f"{name} {short} (ms):", f"{ms:.2f}")
        parts += [Rule(heading, characters="-"), part]
    return Group(*parts, *(Text(f"! {line}", "yellow") for line in remarks(figures)))


def _table() -> Table:
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(width=44)
    made.add_column(justify="right", width=14)
    return made


def _rows(figures: Figures, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Successful requests:", str(figures.completed)
    yield "Failed requests:", str(figures.failed)
    if facts.get("max_concurrency"):
        yield "Maximum request concurrency:", str(facts["max_concurrency"])
    if facts.get("request_rate") not in (None, "inf"):
        yield "Request rate asked for (req/s):", f"{facts['request_rate']:.2f}"
    yield "Benchmark duration (s):", f"{figures.duration:.2f}"
    yield "Total input tokens:", str(figures.total_input_tokens)
    yield "Total generated tokens:", str(figures.total_output_tokens)
    yield "Request throughput (req/s):", f"{figures.request_throughput:.2f}"
    if figures.request_goodput is not None:
        yield f"Request goodput ({_told(figures)}):", f"{figures.request_goodput:.2f}"
    yield "Output token throughput (tok/s):", f"{figures.output_throughput:.2f}"
    yield "Peak output token throughput (tok/s):", f"{figures.max_output_tokens_per_s:.2f}"
    yield "Peak concurrent requests:", str(figures.max_concurrent_requests)
    yield "Total token throughput (tok/s):", f"{figures.total_token_throughput:.2f}"
    yield "Tokens per chunk:", f"{figures.tokens_per_chunk:.2f}"
    for name, cost in figures.server_us_per_token.items():
        yield f"CPU of {name} (us/token):", f"{cost:.1f}"
    yield "CPU of this generator (us/token):", f"{figures.generator_us_per_token:.1f}"


def _told(figures: Figures) -> str:
    return " ".join(f"{name}:{limit:g}" for name, limit in figures.goals.items())


def remarks(figures: Figures) -> Iterator[str]:
    """What a reader of the figures must know to believe them."""
    for kind, count in sorted(figures.errors.items()):
        yield f"{count} failed: {kind}"
    for kind, count in sorted(figures.warm_up_errors.items()):
        yield f"{count} of the warm-up failed: {kind}"
    if figures.uncounted:
        yield f"the server counted no tokens of {figures.uncounted} answers: chunks were counted in their place"
    if stopped := figures.finish_reasons.get("stop", 0):
        yield f"{stopped} answers ended before their length (--ignore-eos makes models go on, where servers know it)"
    if figures.generator_busy > _BUSY:
        yield f"the generator used {figures.generator_busy:.0%} of a core: the figures may be its own"
    if figures.late_p99_ms > _LATE_MS:
        yield f"requests were sent late (p99 {figures.late_p99_ms:.0f} ms after they were due)"
