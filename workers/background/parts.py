"""Results of a batch that still runs: in parts, one for each time that somebody took it over.

Nobody can keep a process that lost its lease from writing to a disk; but it writes to its own part. A line that is in
two parts counts once, so the results have every line exactly once, whoever wrote what and when.

A part holds `<line> <1 or 0> <JSON>` a line, in order of arrival; 1 is an answer, 0 an error. Each append is on the
disk before it counts. What a crash has cut off has no newline, and does not count.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from queuechat.errors import Misconfigured
from workers.background.asking import Outcome

_OPEN = 64  # parts; a batch that runs for a day has thousands


class Kept(NamedTuple):
    """A line of a part: `at` is where its JSON begins in `path`."""

    number: int
    ok: bool
    path: Path
    at: int
    length: int


class Reader:
    """Reads the JSON of lines; `with` closes what it has open, which is never many of the parts."""

    def __init__(self) -> None:
        self._open: dict[Path, BinaryIO] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._open.values():
            part.close()

    def read(self, kept: Kept) -> bytes:
        part = self._open.pop(kept.path, None) or self._opened(kept.path)
        self._open[kept.path] = part  # the last that was used is the last to be closed
        part.seek(kept.at)
        return part.read(kept.length)

    def _opened(self, path: Path) -> BinaryIO:
        if len(self._open) >= _OPEN:
            self._open.pop(next(iter(self._open))).close()
        return path.open("rb")


class Parts:
    """All parts of one batch; this process writes the one of `epoch`."""

    def __init__(self, folder: Path, epoch: int):
        self._folder, self._mine, self._input = folder, folder / f"{epoch:08}.part", folder / "input"

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """On the disk when it returns; none of them when it raises OSError."""
        block = b"".join(b"%d %d %s\n" % (o.number, o.ok, orjson.dumps(o.record)) for o in outcomes)
        with self._mine.open("ab", buffering=0) as part:
            before = part.seek(0, os.SEEK_END)
            try:
                _write(part, block)
                os.fsync(part.fileno())
            except OSError:
                part.truncate(before)
                raise

    @property
    def has_input(self) -> bool:
        return self._input.exists()

    def take_input(self, content: BinaryIO) -> None:
        """Copy the input file, which its owner may delete while the batch runs."""
        self._folder.mkdir(parents=True, exist_ok=True)
        half = self._input.with_suffix(f".{self._mine.stem}")
        with half.open("wb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        half.rename(self._input)

    def open_input(self) -> BinaryIO:
        """Raises Misconfigured when another host has taken it, to a folder that is not shared."""
        try:
            return self._input.open("rb")
        except FileNotFoundError:
            raise Misconfigured(
                f"there is no {self._input}: background processes of several hosts must share QUEUECHAT_FILES_DIR"
            ) from None

    def index(self) -> dict[int, Kept]:
        """Every line that has a result, by number: the first that was written."""
        found: dict[int, Kept] = {}
        for path in sorted(self._folder.glob("*.part")):
            for kept in _lines(path):
                found.setdefault(kept.number, kept)
        return found

    def drop(self) -> None:
        """The results are elsewhere now."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _write(part: BinaryIO, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[part.write(view) :]


def _lines(path: Path) -> Iterator[Kept]:
    with path.open("rb") as part:
        at = 0
        for raw in part:
            words = raw.split(b" ", 2)
            if len(words) == 3 and words[0].isdigit() and words[2].endswith(b"}\n"):
                body = words[2]
                yield Kept(int(words[0]), words[1] == b"1", path, at + len(raw) - len(body), len(body) - 1)
            at += len(raw)
