"""Commands for batches: run a file here and now, or look after those of the API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from queuechat.batches import Batch, cancel_batch, get_batch, list_batches
from queuechat.cli.app import JsonFlag, app, err, out, reachable, settings, with_bus
from queuechat.cli.tables import date, print_json, span, table

batch = typer.Typer(
    help="Many requests in a file, a JSON object a line as OpenAI's Batch API has them.", no_args_is_help=True
)
app.add_typer(batch, name="batch")

Id = Annotated[str, typer.Argument(metavar="BATCH", help="Its id: what `batch list` shows.")]
_SHOWN = 100


@batch.command("run")
def run(
    source: Annotated[Path, typer.Argument(metavar="IN", help="JSONL file of requests.", exists=True, dir_okay=False)],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="JSONL file of results, in order of arrival.")],
    window: Annotated[int | None, typer.Option(min=1, help="Requests that wait or run at a time.")] = None,
) -> None:
    """Run a file through the queue, without API or background process, and wait for it.

    Ctrl-C stops it and cancels what runs; run again, it goes on with the requests that OUT has no result of. Those that
    failed have their error in OUT. Exit code 1 when there are any.
    """
    loaded = settings(batch_window=window, log_level="warning")
    from workers.background.local import run_file

    tally = run_file(loaded, reachable(loaded), source, target, err)
    missing = tally.total - tally.completed - tally.failed
    typer.echo(f"{tally.completed} answered, {tally.failed} failed, {missing} left: {target}")
    if missing:
        raise typer.Exit(130)
    if tally.failed:
        raise typer.Exit(1)


@batch.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """The newest batches of the API, of all keys."""
    page = with_bus(lambda bus: list_batches(bus, limit=_SHOWN), settings())
    if as_json:
        print_json([one.shown() for one in page.items])
        return
    rows = table("ID", "STATUS", "ENDPOINT", "MODEL", "DONE", "FAILED", "AGE", "TENANT")
    for one in page.items:
        cells = [one.id, one.status, one.endpoint, one.model or "", f"{one.completed}/{one.total}", str(one.failed)]
        rows.add_row(*map(escape, (*cells, span(time.time() - one.created_at), one.tenant)))
    out.print(rows if page.items else "no batches")


@batch.command("show")
def show(id: Id, as_json: JsonFlag = False) -> None:
    """Where one stands: its counts, its times, its files."""
    one = with_bus(lambda bus: get_batch(bus, id), settings())
    if as_json:
        print_json(one.shown())
        return
    out.print("\n".join(_told(one)), markup=False, soft_wrap=True)


@batch.command("cancel")
def cancel(id: Id) -> None:
    """Stop one. What was answered until then is kept in its files."""
    one = with_bus(lambda bus: cancel_batch(bus, id), settings())
    typer.echo(one.status)


def _told(one: Batch) -> list[str]:
    lines = [
        f"{one.id}  {one.status}",
        f"{one.endpoint}, {one.completed} of {one.total} answered, {one.failed} failed",
        f"model {one.model or 'several'}, tenant {one.tenant or 'none'}",
    ]
    lines += [f"  {error['code']}{_at(error)}: {error['message']}" for error in one.errors]
    row = one.shown()
    names = [name for name in row if name.endswith("_at") and row[name]]
    lines += [f"{name[:-3].replace('_', ' '):>12}  {date(row[name])}" for name in sorted(names, key=row.__getitem__)]
    return lines + [f"{name[:-8]:>12}  {row[name]}" for name in row if name.endswith("_file_id") and row[name]]


def _at(error: dict[str, object]) -> str:
    return f" (line {error['line']})" if error.get("line") else ""
