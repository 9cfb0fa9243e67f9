"""Benches with a stack of their own: `bench transport`, the path alone at full speed; `bench soak`, for a long time."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from queuechat.cli.app import JsonFlag, err, out, settings
from queuechat.cli.bench.load import (
    compared,
    fail_if,
    measured,
    present,
    run_async,
    show_comparison,
)
from queuechat.cli.bench.options import Load, bench, need_extra, spread
from queuechat.cli.tables import print_json, table
from queuechat.errors import InvalidRequest, Misconfigured

if TYPE_CHECKING:
    from queuechat.bench.comparing import Comparison
    from queuechat.bench.driving import Run
    from queuechat.bench.metrics import Figures
    from queuechat.bench.soak import Endurance
    from queuechat.bench.stack import Plan
    from queuechat.bench.target import Target

Apis = Annotated[int, typer.Option(min=1, help="API processes; requests are spread over them.")]
Workers = Annotated[int, typer.Option(min=1, help="Echo workers.")]


@dataclass(frozen=True, kw_only=True)
class FullSpeed(Load):
    """The same with defaults for a server that computes nothing."""

    default_concurrency = 32
    default_output_len = "512"

    def check(self) -> None:
        if self.token_ids:
            raise InvalidRequest("--token-ids means nothing here: the path is measured with chats", param="token_ids")
        super().check()


@bench.command("transport")
@spread(FullSpeed)
def transport(
    load: Load,
    apis: Apis = 1,
    workers: Workers = 1,
    bare: Annotated[
        bool, typer.Option("--bare", help="In turn with a bare uvicorn app that streams as much: the ratio.")
    ] = False,
    echo_rate: Annotated[float, typer.Option(min=0, help="Tokens/s of each stream; 0 is full speed.")] = 0.0,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="With --bare: how often each is driven. [default: 3]")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure the path alone: an own Redis, API and echo worker at full speed, 32 requests of 512 tokens at a time.

    Nothing of a stack that runs here is touched.
    """
    settings(log_level="warning")
    need_api()
    load.check()
    if rounds and not bare:
        raise InvalidRequest("--rounds means nothing without --bare", param="rounds")
    if echo_rate and bare:
        raise InvalidRequest("--echo-rate means nothing with --bare, which goes at full speed", param="echo_rate")
    if bare:
        comparison = run_async(_beside_bare(load, _plan(load, apis, workers), rounds or 3))
        show_comparison(comparison, as_json)
        fail_if(comparison.failed, load)
        return
    target, run, figures = run_async(_alone(load, _plan(load, apis, workers, echo_rate)))
    present(load, target, run, figures, as_json=as_json)
    fail_if(figures.failed, load)


@bench.command("soak")
def soak(
    streams: Annotated[int, typer.Option("--streams", "-n", min=1, help="Answers that are live at any time.")] = 300,
    rate: Annotated[float, typer.Option(min=0.1, help="Chunks a second of each.")] = 10.0,
    minutes: Annotated[float, typer.Option(min=0.05)] = 10.0,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, max=7000, help="Of one answer; then its stream asks again. [default: for the whole time]"),
    ] = None,
    apis: Apis = 1,
    workers: Workers = 1,
    as_json: JsonFlag = False,
) -> None:
    """Keep many slow streams open, with an own Redis, API and echo worker: delay of chunks, gaps, memory over time.

    Exit code 1 when a stream failed or did not say all that it should.
    """
    settings(log_level="warning")
    need_api()
    result = run_async(_soaked(_plan_of_soak(streams, rate, minutes, apis, workers), streams, minutes, tokens))
    if as_json:
        print_json(asdict(result))
    else:
        _show_endurance(result)
    if not result.clean:
        raise typer.Exit(1)


def need_api() -> None:
    need_extra()
    if importlib.util.find_spec("fastapi") is None:
        raise Misconfigured("this bench runs an API of its own: pip install 'queuechat[api,bench]'")


async def _alone(load: Load, plan: Plan) -> tuple[Target, Run, Figures]:
    from queuechat.bench.stack import running

    async with running(plan) as stack:
        targets = _targets(stack.urls, load)
        return targets[0], *await measured(targets, load, watched=stack.pids)


async def _beside_bare(load: Load, plan: Plan, rounds: int) -> Comparison:
    """Ours joins tokens that wait: so does the bare server, once as many as ours was seen to, once none."""
    from queuechat.bench import stack

    async with AsyncExitStack() as leaving:
        limit = await leaving.enter_async_context(stack.bare())
        ours = await leaving.enter_async_context(stack.running(plan))
        through = _targets(ours.urls, load)
        _, seen = await measured(through, load, seed_offset=-1)
        join = max(1, round(seen.tokens_per_chunk))
        targets = {"bare": _targets(limit.urls, load), "queuechat": through}
        targets |= {f"bare, {join} joined": _targets(limit.urls, load, join=join)} if join > 1 else {}
        return await compared(targets, load, rounds)


def _plan(load: Load, apis: int, workers: int, rate: float = 0.0) -> Plan:
    from queuechat.bench.stack import Plan

    pace = load.pace()
    at_once = pace.concurrency if pace.rate is None else pace.max_concurrency or 256
    return Plan(apis, workers, rate, max_running=max(-(-at_once // workers), 1))


def _targets(urls: Sequence[str], load: Load, **extra: object) -> list[Target]:
    from queuechat.bench.stack import MODEL
    from queuechat.bench.target import Target

    return [Target(url, MODEL, extra=load.extra() | extra) for url in urls]


def _plan_of_soak(streams: int, rate: float, minutes: float, apis: int, workers: int) -> Plan:
    from queuechat.bench.stack import Plan

    return Plan(apis, workers, rate, -(-streams // workers), deadline_s=60 * minutes + 600)


async def _soaked(plan: Plan, streams: int, minutes: float, tokens: int | None) -> Endurance:
    from queuechat.bench.soak import MOST_TOKENS
    from queuechat.bench.soak import soak as soaked
    from queuechat.bench.stack import running

    async with running(plan) as stack:
        err.print(f"{streams} streams, {plan.rate:g} chunks a second each, {minutes:g} minutes", style="dim")
        return await soaked(stack, streams=streams, rate=plan.rate, minutes=minutes, most_tokens=tokens or MOST_TOKENS)


def _show_endurance(result: Endurance) -> None:
    delay = result.delay
    rows = table("", "")
    rows.show_header = False
    for name, value in (
        ("streams x chunks a second", f"{result.streams} x {result.rate:g}"),
        ("duration (s)", f"{result.duration:.1f}"),
        ("chunks, tokens", f"{result.chunks}, {result.tokens}"),
        (
            "chunk delay p50 / p95 / p99 / max (ms)",
            f"{delay.p50:.1f} / {delay.p95:.1f} / {delay.p99:.1f} / {result.delay_max_ms:.1f}",
        ),
        ("slip of the schedule, at most (ms)", f"{result.slip_max_ms:.1f}"),
        ("streams with a gap", str(result.gaps)),
        ("streams that failed", str(result.failed)),
    ):
        rows.add_row(name, value)
    out.print(rows)
    parts = table("PART", "CORES", "MIB AT FIRST", "AT LAST", "PEAK", "GROWTH A MINUTE")
    for name, cores in result.cores.items():
        memory = result.memory.get(name)
        sizes = (memory.first, memory.last, memory.peak, memory.growth_per_minute) if memory else ()
        parts.add_row(name, f"{cores:.2f}", *(f"{size:.1f}" for size in sizes))
    out.print(parts)
    for kind, count in sorted(result.errors.items()):
        err.print(f"{count} failed: {kind}", style="yellow", markup=False)
