"""Rows into a JSON array, one after the other: FastChat's tools read arrays, and rows may be more than memory holds."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson


def write_array(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """The file is there when all of it is, readable by its owner only: it holds what people said.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            write_rows(rows, out)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def write_rows(rows: Iterable[Mapping[str, Any]], out: BinaryIO) -> None:
    """A row a line, within brackets."""
    before = b"[\n"
    for row in rows:
        out.write(before + orjson.dumps(row))
        before = b",\n"
    out.write(b"\n]\n" if before == b",\n" else b"[]\n")
