"""`bench price`: an engine behind the queue and the same engine alone, in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from queuechat.cli.app import JsonFlag, err, out, settings
from queuechat.cli.bench.load import measured, run_async
from queuechat.cli.bench.options import Load, bench, spread
from queuechat.cli.bench.own import need_api
from queuechat.cli.tables import print_json, table
from queuechat.cli.worker import MODEL_HELP, EngineFlag
from queuechat.errors import InvalidRequest, Misconfigured

if TYPE_CHECKING:
    from queuechat.bench.price import Price
    from queuechat.bench.stack import Plan
    from workers.models import Spec

_NAME = "priced"


@dataclass(frozen=True, kw_only=True)
class Closed(Load):
    """The same for what an engine is to be asked in both ways."""

    default_output_len = "64"

    def check(self) -> None:
        for name, given in (("rate", self.rate), ("token_ids", self.token_ids), ("extra_body", self.extra_body)):
            if given is not None:
                raise InvalidRequest(f"--{name.replace('_', '-')} means nothing here", param=name)
        super().check()


@bench.command("price")
@spread(Closed)
def price(
    load: Load,
    model: Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)] = "smollm2",
    engine: EngineFlag = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "auto",
    max_context: Annotated[int | None, typer.Option(min=16, help="Tokens of context.")] = 2048,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is driven.")] = 5,
    as_json: JsonFlag = False,
) -> None:
    """What the queue costs: one engine through an own Redis, API and worker, and the same in a process of its own.

    Both are asked the same in turn, answers of full length; the ratio of their tokens a second is the price, the
    median of the rounds.
    """
    loaded = settings(log_level="warning")
    need_api()
    load.check()
    from queuechat.bench.stack import Plan
    from workers.models import resolve

    at_once = load.pace().concurrency
    spec = resolve(model, engine=engine, names=[_NAME], dtype=dtype, threads=threads)
    spec = replace(spec, max_running=at_once, max_context=max_context, cache_dir=str(loaded.cache_dir))
    plan = Plan(max_running=at_once, served=_arguments(model, spec))
    found = run_async(_priced(load, spec, plan, rounds))
    print_json(found.document()) if as_json else _show(found)


def _arguments(model: str, spec: Spec) -> list[str]:
    given = {"engine": spec.engine, "dtype": spec.dtype, "max-context": spec.max_context, "threads": spec.threads}
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return ["--model", model, "--name", _NAME, *(f for f in flags if f != "--dtype=auto")]


async def _priced(load: Load, spec: Spec, plan: Plan, rounds: int) -> Price:
    from queuechat.bench.price import Bare, Price
    from queuechat.bench.stack import running
    from queuechat.bench.target import Target

    bare_rounds, queued_rounds = [], []
    async with Bare.running(spec) as bare, running(plan) as stack:
        targets = [Target(url, _NAME, extra=load.extra() | {"ignore_eos": True}) for url in stack.urls]
        for number in range(rounds):
            asks, warm_up = load.asks(seed_offset=number)
            err.print(f"round {number + 1} of {rounds}", style="dim")
            await bare.run(warm_up, plan.max_running, load.temperature)
            bare_rounds.append(await bare.run(asks, plan.max_running, load.temperature))
            _, figures = await measured(targets, load, seed_offset=number)
            if figures.failed:
                raise Misconfigured(f"{figures.failed} requests failed through the queue: {dict(figures.errors)}")
            queued_rounds.append(figures.output_throughput)
    return Price(bare_rounds, queued_rounds)


def _show(found: Price) -> None:
    rows = table("TOK/S", *(f"ROUND {k + 1}" for k in range(len(found.bare))), "MEDIAN")
    for name, row in found.rounds.items():
        rows.add_row(name, *(f"{value:.1f}" for value in row), f"{found.medians[name]:.1f}")
    out.print(rows)
    out.print(f"queued / bare: {found.ratio:.3f}, the median of the rounds")
