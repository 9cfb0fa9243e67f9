"""The input file of a batch: checked once as a whole, then read line by line."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from queuechat.dialects.lines import MAX_LINES, Fault, Line, LineFault, read_line

_MOST_FAULTS = 100


@dataclass(slots=True)
class Finding:
    """What a check found: how many requests, of which models, or why it is no batch."""

    total: int = 0
    models: set[str | None] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def requests(content: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Number and text of each line that is not blank; numbers count blank ones too."""
    for number, raw in enumerate(content, 1):
        if stripped := raw.strip():
            yield number, stripped


def check(content: BinaryIO, endpoint: str | None, most: int | None = None) -> Finding:
    """Read all of it; a line has at most `most` bytes. The first hundred faults are told, and that there were more."""
    found, names = Finding(), dict[str, int]()
    for number, raw in requests(content):
        found.total += 1
        if found.total > MAX_LINES:
            message = f"The file has more than {MAX_LINES} requests, the most for one batch"
            return Finding(faults=[Fault("too_many_tasks", message)])
        try:
            _check_size(number, len(raw), most)
            line = read_line(number, raw, endpoint)
            _check_name(line, names)
        except LineFault as error:
            found.faults.append(error.fault)
            if len(found.faults) == _MOST_FAULTS:
                found.faults.append(Fault("too_many_errors", "There may be more errors after this line", number))
                break
        else:
            found.models.add(line.model)
    if not found.total:
        found.faults.append(Fault("empty_batch", "The file has no requests"))
    return found


def _check_size(number: int, size: int, most: int | None) -> None:
    if most is not None and size > most:
        message = f"This line has {size} bytes; a request has at most {most}"
        raise LineFault(Fault("request_too_large", message, number))


def _check_name(line: Line, names: dict[str, int]) -> None:
    first = names.setdefault(line.custom_id, line.number)
    if first != line.number:
        message = f"The custom_id of this line is that of line {first} too; each must be unique"
        raise LineFault(Fault("duplicate_custom_id", message, line.number, "custom_id"))


def remaining(content: Iterable[bytes], done: Container[int], endpoint: str | None) -> Iterator[Line]:
    """The requests of a checked file that have no result yet, in order. One that is none after all has its fault."""
    for number, raw in enumerate(content, 1):
        if number not in done and (stripped := raw.strip()):
            try:
                yield read_line(number, stripped, endpoint)
            except LineFault as error:
                yield Line(number, "", endpoint or "", b"", error.fault)
