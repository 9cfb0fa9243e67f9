"""Who beats whom, as a coloured table: predicted by the scores, as it was voted, or how often they met."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from queuechat.leaderboard.results import Standing, Table

MOST = 25  #: models in the table; the best ones

Wins = dict[tuple[str, str], tuple[int, int, int]]


class Kind(StrEnum):
    """What a cell says of its row's model against its column's."""

    PREDICTED = "Predicted wins"
    OBSERVED = "Wins so far"
    BATTLES = "Battles"


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    share: float  # of the colour, -1 to 1
    title: str


def heatmap(table: Table, standings: Sequence[Standing], kind: Kind) -> str:
    """Rows and columns are in the order of the standings; columns have the rows' numbers for names."""
    shown = standings[:MOST]
    met = _met(table)
    most = max((sum(counts) for counts in met.values()), default=1)
    cell = {Kind.PREDICTED: _predicted, Kind.OBSERVED: _observed(met), Kind.BATTLES: _battles(met, most)}[kind]
    top = "".join(f"<th>{k}</th>" for k in range(1, len(shown) + 1))
    rows = "".join(_row(k, one, shown, cell) for k, one in enumerate(shown, 1))
    more = f"<p class='qc-lb-line'>The first {MOST} of {len(standings)} models.</p>" if len(standings) > MOST else ""
    return f"{more}<div class='qc-lb-scroll'><table class='qc-lb-heat'><tr><th></th>{top}</tr>{rows}</table></div>"


def _row(number: int, one: Standing, shown: Sequence[Standing], cell: Callable[[Standing, Standing], _Cell]) -> str:
    cells = "".join("<td class='self'></td>" if one is other else _drawn(cell(one, other)) for other in shown)
    return f"<tr><th><em>{number}</em> {html.escape(one.model)}</th>{cells}</tr>"


def _drawn(cell: _Cell) -> str:
    kind = "more" if cell.share >= 0 else "less"
    title = html.escape(cell.title, quote=True)
    return f"<td class='{kind}' style='--share:{abs(cell.share):.0%}' title='{title}'>{cell.text}</td>"


def _predicted(one: Standing, other: Standing) -> _Cell:
    if one.score is None or other.score is None:
        return _Cell("", 0, f"{one.model} against {other.model}: not rated")
    chance = 1 / (1 + 10 ** ((other.score - one.score) / 400))
    return _Cell(f"{chance:.0%}", 2 * chance - 1, f"{one.model} beats {other.model}: {chance:.1%} expected")


def _observed(met: Wins) -> Callable[[Standing, Standing], _Cell]:
    def cell(one: Standing, other: Standing) -> _Cell:
        wins, ties, losses = met.get((one.model, other.model), (0, 0, 0))
        if not (votes := wins + ties + losses):
            return _Cell("", 0, f"{one.model} and {other.model} never met")
        share = (wins + ties / 2) / votes
        told = f"{one.model} against {other.model}: {wins} won, {ties} tied, {losses} lost"
        return _Cell(f"{share:.0%}", 2 * share - 1, told)

    return cell


def _battles(met: Wins, most: int) -> Callable[[Standing, Standing], _Cell]:
    def cell(one: Standing, other: Standing) -> _Cell:
        votes = sum(met.get((one.model, other.model), (0, 0, 0)))
        return _Cell(f"{votes:,}" if votes else "", votes / most, f"{one.model} and {other.model}: {votes:,} battles")

    return cell


def _met(table: Table) -> Wins:
    met: Wins = {}
    for i, j, wins, ties, losses in table.meetings:
        met[table.models[i], table.models[j]] = (wins, ties, losses)
        met[table.models[j], table.models[i]] = (losses, ties, wins)
    return met
