"""The log files of votes and conversations, a JSON object a line: appended, never rewritten.

Each line ends with the id of its entry in Redis, and an entry is deleted there only after its line is on the disk. So
whoever finds it again after a crash can see whether it was written.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import orjson

from queuechat.backlog import Entry
from queuechat.disk import sync_folder

log = logging.getLogger(__name__)

_ENTRY = re.compile(rb'"entry":"(\d+-\d+)"\}\n\Z')
_BLOCK = 1 << 16


class Logbook:
    """A folder of them. Several processes may share it: a file is locked while one appends to it."""

    def __init__(self, folder: Path):
        self._folder = folder

    def append(self, entries: Sequence[Entry]) -> None:
        """Write those that no file has yet; all are on the disk when it returns.

        Raises:
            OSError: a file cannot be written, or another process does so now (BlockingIOError). What of it was written
                is found the next time.
        """
        by_name: dict[str, list[Entry]] = {}
        for entry in entries:
            by_name.setdefault(entry.file_name, []).append(entry)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, its in by_name.items():
            self._append(self._folder / name, its)

    def _append(self, path: Path, entries: Sequence[Entry]) -> None:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last = _mend(file, path)
            written = set() if _all_after(last, entries) else _ids(file)
            file.seek(0, io.SEEK_END)
            file.write(b"".join(_line(entry) for entry in entries if entry.id not in written))
            file.flush()
            os.fsync(file.fileno())
        if last is None:
            sync_folder(self._folder)


def _line(entry: Entry) -> bytes:
    return entry.line[:-1] + b',"entry":"' + entry.id.encode() + b'"}\n'


def _mend(file: BinaryIO, path: Path) -> bytes | None:
    """Cut away what a crash has left half written at the end; the last whole line, None in an empty file."""
    size = end = file.seek(0, io.SEEK_END)
    raw = None
    while end and raw is None:
        start = _line_start(file, end)
        file.seek(start)
        raw = _whole(file.read(end - start))
        end = end if raw else start
    if end < size:
        log.warning("%s: cut away %d bytes at its end that a crash has left half written", path, size - end)
        file.truncate(end)
    if raw and not raw.endswith(b"\n"):
        file.write(b"\n")
    return raw and raw.rstrip(b"\n") + b"\n"


def _whole(raw: bytes) -> bytes | None:
    """The line, when it is JSON."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return raw


def _line_start(file: BinaryIO, end: int) -> int:
    """Where the line begins that ends before byte `end`."""
    at = end - 1  # its own newline does not count
    while at > 0:
        block = max(at - _BLOCK, 0)
        file.seek(block)
        found = file.read(at - block).rfind(b"\n")
        if found >= 0:
            return block + found + 1
        at = block
    return 0


def _all_after(last: bytes | None, entries: Sequence[Entry]) -> bool:
    """Whether the file, which ends with this line, can have none of the entries: Redis' ids rise."""
    if last is None:
        return True
    match = _ENTRY.search(last)
    return match is not None and all(_order(entry.id) > _order(match[1].decode()) for entry in entries)


def _order(id: str) -> tuple[int, int]:
    ms, _, number = id.partition("-")
    return int(ms), int(number)


def _ids(file: BinaryIO) -> set[str]:
    """Those of all lines that came from Redis."""
    file.seek(0)
    return {match[1].decode() for raw in file if (match := _ENTRY.search(raw))}
