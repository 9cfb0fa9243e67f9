"""The tab's parts as HTML: tables and plots without scripts, which follow theme and width. Names are escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from queuechat.leaderboard import wording
from queuechat.leaderboard.results import Effect, Leaderboard, Standing, Table

TITLE = "<h1>Leaderboard</h1><p>Models by what people voted who did not know their names.</p>"

_TICKS = 4
_BARS = 120
_FEATURES = {
    "tokens": "longer answers",
    "headers": "more headers",
    "lists": "more list items",
    "bold": "more bold text",
}


def head(made: Leaderboard, table: Table, standings: Sequence[Standing], votes: int) -> str:
    """What the table is of, and what must be known of it."""
    at = datetime.fromtimestamp(made.made_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    models = "1 model" if len(standings) == 1 else f"{len(standings)} models"
    line = f"{table.title} · {wording.of_votes(votes)} · {models} · computed {at}"
    shortage = wording.shortage(votes, standings)
    notes = "".join(f"<li>{html.escape(text)}</li>" for text in wording.notes(made, table))
    return (
        f"<p class='qc-lb-line'>{html.escape(line)}</p>"
        + (f"<p class='qc-note'>{html.escape(shortage)}</p>" if shortage else "")
        + (f"<ul class='qc-lb-notes'>{notes}</ul>" if notes else "")
    )


def empty() -> str:
    """What stands there before the first votes."""
    return (
        "<div class='qc-lb-empty'><h2>No votes yet</h2><p>Let two models answer one question in the Arena, and say "
        "who does better. Votes are rated every few minutes.</p></div>"
    )


def standings_table(standings: Iterable[Standing]) -> str:
    """Rank, model, score, interval, votes, share won."""
    names = ("Rank", "Model", "Score", "95 % interval", "Votes", "Won")
    top = "".join(f"<th class='c{k}'>{name}</th>" for k, name in enumerate(names))
    rows = "".join(map(_row, standings))
    return f"<table class='qc-lb-table'><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>"


def _row(one: Standing) -> str:
    why = f"<small>{html.escape(wording.why_unrated(one))}</small>" if one.unrated else ""
    cells = (
        "–" if one.rank is None else str(one.rank),
        f"<span>{html.escape(one.model)}</span>{why}",
        wording.score(one),
        wording.interval(one),
        f"{one.votes:,}",
        f"{one.win_rate:.0%}",
    )
    return "<tr>" + "".join(f"<td class='c{k}'>{cell}</td>" for k, cell in enumerate(cells)) + "</tr>"


def whiskers(standings: Sequence[Standing]) -> str:
    """A dot for each score on a line for its interval; an open end fades out at the edge."""
    rated = [one for one in standings if one.score is not None]
    if not rated:
        return ""
    ends = [value for one in rated for value in (one.lower, one.score, one.upper) if value is not None]
    low, high, ticks = _axis(min(ends), max(ends))

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for one in rated:
        left = 0.0 if one.lower is None else place(one.lower)
        right = 100.0 if one.upper is None else place(one.upper)
        kind = "".join((" open-left" if one.lower is None else "", " open-right" if one.upper is None else ""))
        said = html.escape(f"{one.model}: {wording.score(one)}, 95 % interval {wording.interval(one)}", quote=True)
        rows.append(
            f"<li title='{said}'><span class='name'>{html.escape(one.model)}</span><span class='track'>"
            f"<i class='line{kind}' style='left:{left}%;width:{round(right - left, 2)}%'></i>"
            f"<b style='left:{place(one.score or 0)}%'></b></span></li>"
        )
    marks = "".join(f"<em style='left:{place(tick)}%'>{tick:g}</em>" for tick in ticks)
    axis = f"<li class='axis' aria-hidden='true'><span class='name'></span><span class='track'>{marks}</span></li>"
    return f"<ul class='qc-lb-whiskers'>{''.join(rows)}{axis}</ul>"


def _axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Both ends, round numbers that hold all values, and round numbers between them."""
    rough = max(high - low, 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, max(last, first + 1) * step, [k * step for k in range(first, max(last, first + 1) + 1)]


def effects(found: Iterable[Effect]) -> str:
    """What style alone does to votes."""
    items = "".join(
        f"<li>{_FEATURES.get(one.feature, html.escape(one.feature))}: odds × {one.odds:.2f} "
        f"<small>({one.lower:.2f} – {one.upper:.2f})</small></li>"
        for one in found
    )
    return (
        "<p class='qc-lb-line'>What style alone does to the odds of a vote, for each standard deviation more of it "
        f"than the other answer has:</p><ul class='qc-lb-effects'>{items}</ul>"
    )


def days(counts: Sequence[tuple[str, int]]) -> str:
    """A bar for each day (UTC), or for as many days as make at most 120 bars."""
    if not counts:
        return ""
    bars = _bars(counts)
    most = max(count for _, _, count in bars)
    drawn = "".join(
        f"<i style='height:{max(round(100 * count / most, 1), 1 if count else 0)}%' "
        f"title='{first if first == last else f'{first} to {last}'}: {wording.of_votes(count)}'></i>"
        for first, last, count in bars
    )
    unit = "a day" if bars[0][0] == bars[0][1] else f"in {(bars[0][1] - bars[0][0]).days + 1} days"
    return (
        f"<p class='qc-lb-line'>At most {wording.of_votes(most)} {unit}</p><div class='qc-lb-days'>{drawn}</div>"
        f"<div class='qc-lb-span'><span>{bars[0][0]}</span><span>{bars[-1][1]}</span></div>"
    )


def _bars(counts: Sequence[tuple[str, int]]) -> list[tuple[date, date, int]]:
    """First day, last day, votes; days without votes are there too."""
    votes = {date.fromisoformat(day): count for day, count in counts}
    first, last = min(votes), max(votes)
    width = -(-((last - first).days + 1) // _BARS)
    starts = [first + timedelta(days=k) for k in range(0, (last - first).days + 1, width)]
    spans = [[start + timedelta(days=k) for k in range(width)] for start in starts]
    return [(span[0], span[-1], sum(votes.get(day, 0) for day in span)) for span in spans]
