"""The key-value part of a GGUF file, read straight through: 0.1 s where gguf-py, which maps tensors too, takes seconds.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from queuechat.errors import Misconfigured

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def read_metadata(path: str | Path) -> dict[str, Any]:
    """All keys of the file; arrays as lists.

    Raises:
        Misconfigured: no such file, or not GGUF.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file)
    except OSError as error:
        raise Misconfigured(f"cannot read the model file {str(path)!r}: {error.strerror}") from error
    except (struct.error, KeyError, ValueError, OverflowError, MemoryError) as error:
        raise Misconfigured(f"{str(path)!r} is no readable GGUF file ({error}); llama.cpp needs one") from error


def _read(file: BinaryIO) -> dict[str, Any]:
    magic, version, _tensors, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError(f"magic {magic!r}, version {version}")
    return {_string(file): _value(file, _one(file, "I")) for _ in range(count)}


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _one(file, _SCALARS[kind])
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind in (_STRING, _ARRAY):
        return [_value(file, kind) for _ in range(count)]
    form = f"<{count}{_SCALARS[kind]}"
    return list(struct.unpack(form, file.read(struct.calcsize(form))))


def _one(file: BinaryIO, form: str) -> Any:
    return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_one(file, "Q")).decode("utf-8", "replace")
