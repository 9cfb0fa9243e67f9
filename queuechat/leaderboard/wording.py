"""The words that page and command have for what is in a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

from queuechat.leaderboard.results import Leaderboard, Standing, Table, Unrated

FEW = 100  #: votes below which intervals are wide and bootstrap ends rough

_WHY = {
    Unrated.UNBEATEN: "won all its battles",
    Unrated.WINLESS: "lost all its battles",
    Unrated.APART: "no wins and losses connect it with the others",
}
_LEFT_OUT = {
    "names known": "the voter knew the models' names",
    "named": "the voter knew the models' names",
    "leaked_identity": "an answer told who wrote it",
    "none_msg": "an answer was empty",
    "error": "an answer was an error",
    "unfinished": "an answer was not finished",
    "duplicate": "counted already",
    "invalid": "the record does not say who fought",
    "unreadable": "the record cannot be read",
    "same model": "both sides were the same model",
    "outlier": "the voter was flagged",
}


def score(one: Standing) -> str:
    return "–" if one.score is None else f"{one.score:.0f}"


def interval(one: Standing) -> str:
    """1012 – 1034; an end that is missing is open."""
    if one.score is None:
        return "–"
    if one.lower is None and one.upper is None:
        return "open"
    if one.lower is None:
        return f"up to {one.upper:.0f}"
    return f"{one.lower:.0f} – {one.upper:.0f}" if one.upper is not None else f"from {one.lower:.0f}"


def why_unrated(one: Standing) -> str:
    return f"not rated: {_WHY[one.unrated]}" if one.unrated else ""


def of_votes(count: int) -> str:
    return "1 vote" if count == 1 else f"{count:,} votes"


def shortage(votes: int, standings: Sequence[Standing]) -> str:
    """What is to be said of a table with too few votes; empty when there are enough."""
    if not any(one.score is not None for one in standings):
        return "Too few votes to rate anybody: models need wins and losses (or ties) against each other."
    if votes < FEW:
        return f"Only {of_votes(votes)} yet: the intervals are wide, and ranks may still change a lot."
    return ""


def notes(made: Leaderboard, table: Table) -> list[str]:
    """What a reader must know of how a table came about."""
    lines = [f"{of_votes(count)} left out: {_LEFT_OUT.get(why, why)}" for why, count in made.left_out.items()]
    if made.flagged:
        voters = "1 voter votes" if len(made.flagged) == 1 else f"{len(made.flagged):,} voters vote"
        lines.append(f"{voters} against everybody else ({'left out' if made.excluded else 'still counted'})")
    if made.anchor and not table.anchored:
        lines.append(f"the anchor {made.anchor[0]} is not rated here: scores have a mean of 1000")
    return lines
