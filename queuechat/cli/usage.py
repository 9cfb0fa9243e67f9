"""The usage command: what API keys have had."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, out, settings, with_bus
from queuechat.cli.tables import print_json, table
from queuechat.credentials import list_keys
from queuechat.roster import known_models
from queuechat.usage import By, Spent, days_since, summed, take_usage, total


@app.command()
def usage(
    key: Annotated[str | None, typer.Option("--key", help="Only of this key: the id that `keys list` shows.")] = None,
    since: Annotated[
        str, typer.Option(help="24h, 30d, ...: whole days (UTC) from the one in which this began.")
    ] = "24h",
    by: Annotated[By, typer.Option(help="What to sum by.")] = By.KEY,
    as_json: JsonFlag = False,
) -> None:
    """Requests and tokens of API keys, by key, model or day."""
    days = days_since(since, datetime.now(UTC))

    async def asking(bus: Bus) -> tuple[list[Spent], dict[str, str]]:
        rows = await take_usage(bus, await known_models(bus), days, key)
        return rows, {known.id: known.name for known in await list_keys(bus)}

    rows, names = with_bus(asking, settings())
    sums = summed(rows, by)
    if as_json:
        print_json([_plain(row, by) for row in sums])
        return
    shown = table(by.value.upper(), *(("NAME",) if by is By.KEY else ()), "REQUESTS", "READ", "WRITTEN")
    for row in [*sums, total(rows)] if len(sums) > 1 else sums:
        name = getattr(row, by)
        label = escape(name) or ("(no key)" if row in sums else "total")
        counts = map(str, (row.requests, row.prompt_tokens, row.tokens))
        shown.add_row(label, *((escape(names.get(name, "")),) if by is By.KEY else ()), *counts)
    out.print(shown if sums else f"nothing since {days[0]} 00:00 UTC")


def _plain(row: Spent, by: By) -> dict[str, object]:
    """Without what it is a sum over."""
    return {k: v for k, v in asdict(row).items() if k == by or k not in set(By)}
