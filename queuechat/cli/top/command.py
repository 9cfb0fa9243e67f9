"""The command: full screen for people, one look for pipes and programs."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group

from queuechat import keys
from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, out, settings, with_bus
from queuechat.cli.tables import print_json
from queuechat.cli.top.columns import MODELS, WORKERS
from queuechat.cli.top.screen import whole_table
from queuechat.roster import take_census
from queuechat.watching import Sight, Watch, take_reading


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Look for a second, print it, and end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """The queues and workers as they fare, each second; keys sort, cancel a job, drain a worker. `?` lists them.

    Where no terminal is, it is as --once. Rates are over the last ten seconds, or as long as it has looked.
    """
    loaded = settings()
    if not once and not as_json and sys.stdin.isatty() and out.is_terminal and not out.is_dumb_terminal:
        from queuechat.cli.top.program import Program

        with_bus(lambda bus: Program(bus, out).run(), loaded)
        return
    watch = with_bus(_look, loaded)
    if as_json:
        print_json(_document(watch))
        return
    if not watch.models:
        out.print("no models yet; start a worker with: queuechat worker --model smollm2")
        return
    out.print(Group(whole_table(MODELS, watch.models), "", whole_table(WORKERS, watch.workers)))


async def _look(bus: Bus) -> Watch:
    """Two readings, so that there is something to compare with."""
    watch = Watch()
    watch.add(await take_reading(bus, await take_census(bus)))
    await asyncio.sleep(keys.BEAT_S)
    watch.add(await take_reading(bus, await take_census(bus)))
    return watch


def _document(watch: Watch) -> dict[str, object]:
    return {
        "models": [_model(sight) for sight in watch.models],
        "workers": [asdict(hand.card) for hand in watch.workers],
    }


def _model(sight: Sight) -> dict[str, object]:
    letters = [{"id": one.id, "at": one.at, "crashes": one.crashes, "worker": one.worker} for one in sight.letters]
    return {
        "name": sight.name,
        "status": sight.model.status,
        **asdict(sight.depth),
        "eta_s": sight.depth.eta_s,
        "came_per_s": sight.now.came_per_s,
        "ended_per_s": sight.ended_per_s,
        "tokens_per_s": sight.now.tokens_per_s,
        "workers": [worker.id for worker in sight.model.workers],
        "letters": letters,
    }
