"""Commands for single jobs: jobs list, show, cancel."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, out, settings, with_bus
from queuechat.cli.naming import ModelFlag, bare, models_named
from queuechat.cli.tables import date, print_json, span, table
from queuechat.errors import RequestNotFound
from queuechat.timeline import Moment, Timeline, find_job, list_jobs, standing

jobs = typer.Typer(
    help="Single jobs. A request is one job; of one with n choices the further ones are <id>.1, <id>.2, …",
    no_args_is_help=True,
)
app.add_typer(jobs, name="jobs")

Ids = Annotated[
    list[str], typer.Argument(metavar="ID…", help="Ids as `jobs list` or an answer (chatcmpl-…) shows them.")
]
_SHOWN = 1000


@jobs.command("list")
def list_all(model: ModelFlag = None, as_json: JsonFlag = False) -> None:
    """What runs and what waits, oldest first."""

    async def ask(bus: Bus) -> list[Timeline]:
        return await list_jobs(bus, await models_named(bus, model), _SHOWN)

    found = with_bus(ask, settings())
    if as_json:
        print_json([_summary(job) for job in found])
        return
    now, several = time.time(), len({job.model for job in found}) > 1
    rows = table("ID", *(("MODEL",) if several else ()), "STATE", "AGE", "WORKER", "TOKENS", "TENANT", "DEADLINE")
    for job in found:
        worker = job.worker if job.owned else ""
        left = f"in {span(job.deadline - now)}" if job.deadline > now else "over"
        cells = [job.id, *((job.model,) if several else ()), standing(job), span(now - job.queued), worker]
        rows.add_row(*map(escape, cells), str(job.tokens), escape(job.tenant), left)
    out.print(rows if found else "nothing waits or runs")


@jobs.command("show")
def show(id: Annotated[str, typer.Argument(help="The id of one job.")], as_json: JsonFlag = False) -> None:
    """The life of one job: queued, taken by whom, first token, each handover, end. Never the prompt."""

    async def ask(bus: Bus) -> Timeline:
        found = await find_job(bus, await models_named(bus, None), bare(id))
        if found is None:
            raise no_job(id)
        return found

    job = with_bus(ask, settings())
    if as_json:
        print_json(asdict(job))
        return
    print_life(job)


@jobs.command("cancel")
def cancel(ids: Ids) -> None:
    """Cancel single jobs, waiting or running. `queuechat cancel` stops all choices of a request."""
    wanted = list(dict.fromkeys(map(bare, ids)))

    async def ask(bus: Bus) -> dict[str, str]:
        words: dict[str, str] = {}
        for model in await models_named(bus, None):
            said = zip(wanted, await bus.cancel(model, wanted), strict=True)
            words |= {id: word for id, word in said if word != "MISSING"}
        return words

    words = with_bus(ask, settings())
    for id in wanted:
        if id in words:
            typer.echo(f"{id} {'cancelled' if words[id] == 'OK' else 'had ended already'}")
    if missing := [id for id in wanted if id not in words]:
        raise no_job(*missing)


def no_job(*ids: str) -> RequestNotFound:
    """What to say of ids that name nothing."""
    return RequestNotFound(f"no request {', '.join(map(repr, ids))}; requests are kept for 15 minutes after their end")


def print_life(job: Timeline) -> None:
    """A timeline for people, times counted from its first moment."""
    now, start = time.time(), job.moments[0].at
    facts = [f"{job.tokens} tokens", f"epoch {job.epoch}"]
    facts += [f"{job.crashes} crashes in a row"] if job.crashes else []
    facts += [f"tenant {job.tenant}"] if job.tenant else []
    left = "" if job.over else f", deadline {'in ' + span(job.deadline - now) if job.deadline > now else 'over'}"
    lines = [
        f"{job.id}  {standing(job)}",
        f"model {job.model}, {', '.join(facts)}",
        f"{date(start)}, {span(now - start)} ago{left}",
        *(f"{_since(moment.at - start):>12}  {_told(moment, job)}" for moment in job.moments),
    ]
    out.print("\n".join(lines), markup=False, soft_wrap=True)


def _summary(job: Timeline) -> dict[str, object]:
    body = asdict(job)
    del body["moments"]
    return body


def _since(seconds: float) -> str:
    if seconds < 60:
        return f"+{seconds:.3f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"+{hours}h{minutes:02}m{rest:02}s" if hours else f"+{minutes}m{rest:02}s"


def _told(moment: Moment, job: Timeline) -> str:
    told = {
        "queued": "queued",
        "redriven": "queued again by an operator",
        "taken": f"taken by {moment.worker}",
        "first token": f"first token{' from ' + moment.worker if moment.worker else ''}",
        "handed": f"handed back by {moment.worker}",
        "killed": f"its worker {moment.worker} was killed",
        "crashed": f"its worker {moment.worker} died of itself",
        "lapsed": f"nothing was heard of {moment.worker} any more",
    }.get(moment.what)
    if told is None:
        return f"ended: {moment.what}, {moment.offset} tokens"
    return told if moment.what in ("queued", "first token") else f"{told}, at token {moment.offset}"
