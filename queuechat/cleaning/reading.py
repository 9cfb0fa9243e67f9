"""Log files, line by line: no file is ever in memory as a whole, and no line is passed over in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHOWN = 20

Row = TypeVar("Row", bound=BaseModel)


@dataclass(slots=True)
class Faults:
    """Lines that are no log line: how many, and what the first ones have."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, path: Path, number: int, what: str) -> None:
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(f"{path}, line {number}: {what}")


def log_files(folder: Path) -> list[Path]:
    """The log files of a folder, by day."""
    return in_order(folder.glob("*-conv.json"))


def in_order(files: Iterable[Path]) -> list[Path]:
    """By the day in their names, so that what came first is read first."""
    return sorted(files, key=lambda path: (_day(path), path.name, str(path)))


def _day(path: Path) -> str:
    match = _DAY.search(path.name)
    return match[0] if match else ""


def read_rows(
    files: Iterable[Path], kind: type[Row], types: frozenset[str] | None, faults: Faults
) -> Iterator[tuple[str, Row]]:
    """The rows of some types (None: of all), each with its place, "<file>:<number>"."""
    for path in files:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                row = _read(raw, kind, types, faults, path, number)
                if row is not None:
                    yield f"{path}:{number}", row


class _Head(BaseModel):
    """What every line has."""

    type: str


def _read(
    raw: bytes, kind: type[Row], types: frozenset[str] | None, faults: Faults, path: Path, number: int
) -> Row | None:
    if not raw.strip():
        return None
    try:
        if types is not None and _Head.model_validate_json(raw).type not in types:
            return None
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        faults.add(path, number, f"{where}: {first['msg']}" if where else str(first["msg"]))
        return None
