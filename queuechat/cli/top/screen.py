"""How it looks: three tables under a line about everything, above a line about the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from queuechat.cli.tables import table
from queuechat.cli.top.choices import COLUMNS, HELP, Choices, Pane, model_of
from queuechat.cli.top.columns import Column
from queuechat.watching import Sight

_FRAME = 8  # lines that are no rows: head, three titles, blanks, foot


def whole_table(columns: Sequence[Column[Any]], rows: Sequence[Any]) -> Table:
    """All rows and columns, for pipes."""
    made = table(*(column.title for column in columns))
    for row in rows:
        made.add_row(*(Text(column.text(row)) for column in columns))
    return made


def screen(choices: Choices, away: str, width: int, height: int) -> RenderableType:
    """The whole screen; `away` says since when Redis does not answer, if it does not."""
    rooms = share([len(choices.rows[pane]) for pane in Pane], max(height - _FRAME, 3))
    parts: list[RenderableType] = [_head(choices.rows[Pane.MODELS], away)]
    for pane in Pane:
        parts += [Text(""), _table(choices, pane, rooms[pane], width)]
    blanks = max(height - _FRAME - sum(min(rooms[p], max(len(choices.rows[p]), 1)) for p in Pane), 0)
    return Group(*parts, *[Text("")] * blanks, _foot(choices))


def share(wanted: Sequence[int], lines: int) -> list[int]:
    """Lines for each table: a third at least where it wants so many, and what others do not want."""
    rooms = [min(max(want, 1), max(lines // len(wanted), 1)) for want in wanted]
    for at, want in enumerate(wanted):
        rooms[at] += max(min(want - rooms[at], lines - sum(rooms)), 0)
    return rooms


def _head(sights: Sequence[Sight], away: str) -> Text:
    if away:
        return Text(f"queuechat top · {away}", style="bold red", no_wrap=True)
    depths = [sight.depth for sight in sights]
    workers = {worker.id for sight in sights for worker in sight.model.workers}
    speed = sum(sight.now.tokens_per_s for sight in sights)
    facts = [
        f"{sum(sight.model.live for sight in sights)} models",
        f"{len(workers)} workers",
        f"{sum(depth.waiting + depth.bulk_waiting for depth in depths)} waiting",
        f"{sum(depth.running for depth in depths)} running",
        f"{speed:,.0f} tok/s",
    ]
    return Text.assemble(("queuechat top", "bold"), " · ", " · ".join(facts), no_wrap=True)


def _foot(choices: Choices) -> Text:
    if choices.asked:
        return Text(choices.asked.question, style="bold yellow", no_wrap=True)
    return Text(choices.said or HELP, style="" if choices.said else "dim", no_wrap=True)


def _table(choices: Choices, pane: Pane, room: int, width: int) -> RenderableType:
    rows, order, place = choices.rows[pane], choices.orders[pane], choices.place(pane)
    columns = [(at, column) for at, column in enumerate(COLUMNS[pane]) if column.room <= width or at == order.by]
    made = Table(box=None, pad_edge=False, expand=True, header_style="bold" if pane is choices.pane else "dim")
    for at, column in columns:
        mark = ("▲" if order.turned else "▼") if at == order.by else ""
        made.add_column(f"{column.title}{mark}", no_wrap=True, overflow="ellipsis", ratio=None if at else 1)
    first = min(max(place - room // 2, 0), max(len(rows) - room, 0))
    for at, row in list(enumerate(rows))[first : first + room]:
        style = "reverse" if at == place and pane is choices.pane else "bold" if at == place else ""
        made.add_row(*(Text(column.text(row)) for _, column in columns), style=style)
    if not rows:
        made.add_row(Text(_empty(choices, pane), style="dim"))
    return made


def _empty(choices: Choices, pane: Pane) -> str:
    if pane is Pane.JOBS and (model := model_of(choices)):
        return f"nothing waits or runs for {model}"
    return "none" if pane is Pane.JOBS else "none; start one with: queuechat worker --model smollm2"
