"""The leaderboard as a document: what `build` makes, files and Redis hold, and page and command show. No numpy here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from queuechat.disk import write_whole
from queuechat.errors import InvalidRequest

CONFIDENCE = 0.95
VERSION = 1


class Unrated(StrEnum):
    """Why a model has no score: its votes fit some strengths ever better, without an end."""

    UNBEATEN = "unbeaten"  #: it won all its battles
    WINLESS = "winless"  #: it lost all its battles
    APART = "apart"  #: no chain of wins leads from it to the rated models and back


@dataclass(frozen=True, slots=True)
class Standing:
    """A model in a table. `lower` and `upper` are the ends of the 95 % interval, None where it is open; `win_rate`
    counts a tie as half a win; `elo` is the online rating."""

    model: str
    votes: int
    wins: int
    ties: int
    losses: int
    win_rate: float
    elo: float
    rank: int | None = None
    score: float | None = None
    lower: float | None = None
    upper: float | None = None
    unrated: Unrated | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What style does: factor by which the odds rise when an answer has a standard deviation more of it."""

    feature: str
    odds: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Styled:
    """A table with style controlled for, of those votes whose style is known."""

    votes: int
    standings: list[Standing]
    effects: list[Effect]


@dataclass(frozen=True, slots=True)
class Table:
    """The ratings of one category, best first. `meetings` are [model, model, wins, ties, losses] of the first, with
    places in `models`; `anchored` is whether the anchor is rated here."""

    category: str
    title: str
    votes: int
    models: list[str]
    standings: list[Standing]
    meetings: list[tuple[int, int, int, int, int]]
    anchored: bool = False
    styled: Styled | None = None


@dataclass(frozen=True, slots=True)
class Flagged:
    """A voter whose votes go against everybody's."""

    voter: str
    votes: int
    p: float


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Everything that was computed at `made_at` (Unix seconds) from `votes` votes. `days` are [day (UTC), votes];
    `left_out` counts votes that were not used, by why."""

    made_at: float
    votes: int
    voters: int
    last_vote: float
    rounds: int
    seed: int
    days: list[tuple[str, int]]
    tables: list[Table]
    flagged: list[Flagged] = field(default_factory=list)
    excluded: bool = False
    left_out: dict[str, int] = field(default_factory=dict)
    anchor: tuple[str, float] | None = None
    version: int = VERSION

    def encode(self) -> bytes:
        return orjson.dumps(self)


def decode(raw: bytes) -> Leaderboard:
    """Raises InvalidRequest when it is no leaderboard of this version."""
    try:
        made: Leaderboard = _adapter().validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise InvalidRequest(f"it is no leaderboard: {place}: {first['msg']}", param="leaderboard") from None
    if made.version != VERSION:
        raise InvalidRequest(
            f"it is a leaderboard of version {made.version}, not {VERSION}: build it again", param="leaderboard"
        )
    return made


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Leaderboard)


def read_leaderboard(path: Path) -> Leaderboard:
    """Raises InvalidRequest when the file cannot be read, or is none; it is named."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or error}", param="leaderboard") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.message}", param="leaderboard") from None


def write_leaderboard(folder: Path, made: Leaderboard) -> tuple[Path, Path]:
    """leaderboard.json and leaderboard.csv in the folder; each is replaced at once."""
    paths = folder / "leaderboard.json", folder / "leaderboard.csv"
    write_whole(paths[0], orjson.dumps(made, option=orjson.OPT_INDENT_2))
    write_whole(paths[1], as_csv(made).encode())
    return paths


_COLUMNS = ("rank", "model", "score", "lower", "upper", "votes", "wins", "ties", "losses", "win_rate", "elo", "unrated")


def as_csv(made: Leaderboard) -> str:
    """A row for each model of each table; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("category", "style_control", *_COLUMNS))
    for table in made.tables:
        kinds = [(0, table.standings), *([(1, table.styled.standings)] if table.styled else [])]
        for styled, standings in kinds:
            writer.writerows((table.category, styled, *(_cell(one, name) for name in _COLUMNS)) for one in standings)
    return out.getvalue()


def _cell(one: Standing, name: str) -> Any:
    value = getattr(one, name)
    return f"{value:.4f}" if isinstance(value, float) else value
