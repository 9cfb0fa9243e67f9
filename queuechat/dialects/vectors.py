"""Embedding vectors: base64 of little-endian float32 on the wire, lists of numbers where asked for."""

from __future__ import annotations

import base64
import math
import sys
from array import array

from queuechat.errors import InvalidRequest


def floats(vector: str) -> array[float]:
    values = array("f", base64.b64decode(vector))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def pack(values: array[float]) -> str:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode()


def cut(values: array[float], dimensions: int) -> array[float]:
    """The first `dimensions` values, of length one again.

    Raises:
        InvalidRequest: there are not so many.
    """
    if dimensions > len(values):
        raise InvalidRequest(
            f"`dimensions` must be at most {len(values)}, which is what this model gives", param="dimensions"
        )
    head = values[:dimensions]
    norm = math.sqrt(math.fsum(value * value for value in head)) or 1.0
    return array("f", (value / norm for value in head))
