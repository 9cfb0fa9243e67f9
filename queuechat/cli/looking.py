"""Commands that look and change nothing: ps, queues, models, config show."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from queuechat import keys
from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, out, settings, with_bus
from queuechat.cli.tables import print_json, span, table
from queuechat.protocol import Depth
from queuechat.roster import Census, take_census, take_depths
from queuechat.settings import sources

config = typer.Typer(help="The settings in force.", no_args_is_help=True)
app.add_typer(config, name="config")


@app.command()
def ps(as_json: JsonFlag = False) -> None:
    """Live workers and their load."""
    census = with_bus(take_census, settings())
    workers = sorted(census.workers, key=lambda w: (w.model, w.id))
    if as_json:
        print_json([asdict(worker) for worker in workers])
        return
    rows = table("WORKER", "MODEL", "ENGINE", "DEVICE", "STATE", "RUNNING", "TOK/S", "UP", "RESTARTS")
    now = time.time()
    for w in workers:
        load = f"{w.running}/{w.capacity}"
        up = span(now - w.started / 1000)
        names, device = ", ".join((w.model, *w.adapters)), f"{w.device} {w.quantization}".rstrip()
        rows.add_row(w.id, names, w.engine, device, w.state, load, f"{w.tokens_per_s:g}", up, str(w.restarts))
    out.print(rows if workers else "no workers; start one with: queuechat worker --model smollm2")


@app.command()
def queues(
    as_json: JsonFlag = False,
    explain: Annotated[bool, typer.Option("--explain", help="The redis-cli command behind each number.")] = False,
) -> None:
    """How deep each model's queues are."""
    census, depths = with_bus(_depths, settings())
    if as_json:
        print_json({model: {**asdict(depth), "eta_s": depth.eta_s} for model, depth in depths.items()})
        return
    rows = table("MODEL", "WAITING", "RUNNING", "BULK", "OLDEST", "ETA", "ENDED/S", "DEAD", "WORKERS")
    for model, d in sorted(depths.items()):
        told = "?" if d.eta_s is None else f"{d.eta_s:.1f}s"
        times = (f"{d.oldest_ms / 1000:.1f}s", told, f"{d.finished_per_s:g}")
        numbers = (d.waiting, d.running, d.bulk_waiting, *times, d.dead)
        rows.add_row(model, *map(str, numbers), str(len(census.models[model].workers)))
    out.print(rows if depths else "no queues yet")
    if explain:
        for model in sorted(depths):
            out.print(_explained(model), markup=False, soft_wrap=True)


def _explained(model: str) -> str:
    jobs, bulk = keys.jobs(model), keys.bulk(model)
    lines = (
        f"\n{model}:",
        f"  RUNNING  redis-cli XPENDING '{jobs}' {keys.GROUP}        # first number, and with it that of",
        f"           redis-cli XPENDING '{bulk}' {keys.GROUP}        # NOGROUP: 0",
        f"  WAITING  redis-cli XLEN '{jobs}'                   # less the first number of XPENDING '{jobs}'",
        f"  BULK     redis-cli XLEN '{bulk}'                   # less the first number of XPENDING '{bulk}'",
        f"  OLDEST   redis-cli ZRANGE '{keys.turns(model)}' 0 -1   # then, of each name, the lowest score:",
        f"           redis-cli ZRANGE '{jobs}:of:<name>' 0 0 WITHSCORES",
        "  ETA                                                # how long ended jobs ran / RUNNING * (WAITING + 1)",
        f"  ENDED/S  redis-cli XREVRANGE '{keys.usage(model)}' + - COUNT 64",
        f"  DEAD     redis-cli XLEN '{keys.dead(model)}'",
        "  WORKERS  redis-cli ZRANGE qc:workers 0 -1 REV          # then GET qc:worker:<id>",
    )
    return "\n".join(lines)


async def _depths(bus: Bus) -> tuple[Census, dict[str, Depth]]:
    census = await take_census(bus)
    return census, await take_depths(bus, census.models)


@app.command()
def models(as_json: JsonFlag = False) -> None:
    """Models that were served in the last day, and whether somebody serves them now."""
    census = with_bus(take_census, settings())
    known = sorted(census.models.values(), key=lambda m: m.card.name)
    if as_json:
        print_json([{**asdict(m.card), "status": m.status, "workers": len(m.workers)} for m in known])
        return
    rows = table("MODEL", "ALIASES", "STATUS", "WORKERS", "ENGINE", "CONTEXT", "RESUME")
    for m in known:
        card = m.card
        context, aliases = str(card.context_length or ""), ", ".join(card.aliases)
        rows.add_row(card.name, aliases, m.status, str(len(m.workers)), card.engine, context, card.resume)
    out.print(rows if known else "no models yet; start a worker with: queuechat worker --model smollm2")


@config.command("show")
def config_show(as_json: JsonFlag = False) -> None:
    """Every setting, its value and where it comes from. Secrets are masked."""
    loaded = settings()
    rows = sources(loaded)
    if as_json:
        print_json({row.name: {"value": row.value, "source": row.source} for row in rows})
        return
    made = table("VARIABLE", "VALUE", "SOURCE", "WHAT IT IS")
    for row in rows:
        made.add_row(row.variable, row.value, row.source, row.description)
    out.print(made)
