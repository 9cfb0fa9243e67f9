"""How commands print what they found: tables for people, JSON for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
import typer
from rich.table import Table


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())


def table(*columns: str) -> Table:
    """A table without lines; `add_row` takes strings, and nothing in them is markup when it was escaped."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made


def span(seconds: float) -> str:
    """42s, 7m, 3h, 2d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def date(at: float) -> str:
    """A moment (seconds since the epoch) in local time."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
