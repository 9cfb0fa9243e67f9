"""Cases made of cases: what Schemathesis has sent, with hostile values, fields and bytes put into it.

Making a body from a schema takes a hundred times as long as answering it; changing one takes nothing.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson

from tests.fuzz.generator import Sent, bounded

_DEEP: Any = []
for _ in range(40):
    _DEEP = [_DEEP]

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.5, 1e308, 5e-324, "", " ", "0", "null",
    "\x00", "a\r\nb: c", "é", "\u202e", "\U0010ffff", "../../etc/passwd", "{{ 7 * 7 }}", "<|im_start|>system", "%00",
    "x" * 300, "x" * 5000, "(a+)+$", [], [[]], {}, {"": ""}, [None], [0] * 100, _DEEP, {"$ref": "#"},
    {"type": "object"}, {"role": "user", "content": "x"}, [{"role": "user", "content": "x"}], "user", ["a"] * 20,
]  # fmt: skip
RAW: list[bytes] = [
    b"NaN", b"Infinity", b"-0", b"1e999", b"1" + b"0" * 400, b'"\\ud800"', b'"\xff"', b"{", b"]", b'{"a":1,"a":2}',
    b"[" * 2000,
]  # fmt: skip
HEADERS: list[tuple[str, list[str]]] = [
    ("idempotency-key", ["", "a", "x" * 255, "x" * 256, "{}:*", "\xe9", "a b"]),
    ("x-request-id", ["", "a/b", "x" * 200, "{{}}"]),
    ("x-stainless-read-timeout", ["nan", "-1", "1e999", "600", "", "x"]),
    ("x-stainless-retry-count", ["-1", "x", "9" * 99]),
    ("last-event-id", ["0", "1", "-1", "1.0000000000000000", "9" * 15, "9" * 99, "x.end", ".end", "\xe9"]),
    ("content-type", ["", "text/plain", "application/json; charset=utf-16", "multipart/form-data", "a/b;" * 50]),
    ("content-encoding", ["gzip", "br", "x"]),
    ("accept", ["", "text/event-stream", "*/*;q=-1"]),
    ("authorization", ["Bearer", "Bearer x", "Basic eA==", "\xe9", "Bearer " + "x" * 3000]),
    ("x-http-method-override", ["DELETE", "TRACE"]),
]
_IDS = [
    "0" * 32,
    "f" * 32,
    "file-" + "0" * 32,
    "batch_" + "0" * 32,
    "..",
    "%00",
    "a/b",
    "x" * 500,
    "é",
    "'\"",
    "*",
    "{}",
]
_QUERY = ["", "0", "-1", "1", "9" * 99, "null", "\x00", "é", "x" * 300, "asc", "day", "24h", "9" * 30 + "d"]
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]


class Mutants:
    """Endless and the same for the same pool and seed."""

    def __init__(self, pool: Sequence[Sent], seed: int, model: str, fields: dict[str, dict[str, Any]]):
        """`fields`: of each operation, what the JSON of its body may have."""
        self._rng, self._model, self._fields = random.Random(seed), model, fields
        by_operation: dict[str, list[Sent]] = {}
        for sent in pool:
            by_operation.setdefault(sent.operation, []).append(sent)
        self._pool = list(by_operation.values())

    def next(self) -> Sent:
        rng = self._rng
        sent = rng.choice(rng.choice(self._pool))
        body = _json(sent.body)
        if body is not None and rng.random() < 0.8:
            sent = replace(sent, body=self._body(sent.operation, body))
        elif sent.body and rng.random() < 0.5:
            sent = replace(sent, body=self._bytes(sent.body))
        if rng.random() < 0.3:
            sent = replace(sent, target=self._target(sent))
        if rng.random() < 0.2:
            name, values = rng.choice(HEADERS)
            sent = replace(sent, headers={**sent.headers, name: rng.choice(values)})
        return replace(sent, method=rng.choice(_METHODS)) if rng.random() < 0.03 else sent

    def _body(self, operation: str, body: Any) -> bytes:
        rng = self._rng
        for _ in range(rng.choice((1, 1, 2, 4))):
            body = self._changed(body)
        if rng.random() < 0.4 and isinstance(body, dict):
            body = {**body, **self._borrowed(operation)}
        raw = orjson.dumps(bounded(body, self._model, self._fields[operation]))
        if rng.random() < 0.1:
            return self._bytes(raw)
        if rng.random() < 0.1:
            return raw.replace(b"null", rng.choice(RAW), 1) if b"null" in raw else raw[:-1] + b"," + rng.choice(RAW)
        return raw

    def _changed(self, node: Any) -> Any:
        """One place of it, any of them, made something else."""
        rng = self._rng
        if isinstance(node, dict) and node and rng.random() < 0.9:
            key = rng.choice(list(node))
            kind = rng.random()
            if kind < 0.1:
                return {k: v for k, v in node.items() if k != key}
            if kind < 0.15:
                return {**node, str(rng.choice(["", key + key, "\x00", "__proto__", "__class__"])): node[key]}
            return {**node, key: self._changed(node[key])}
        if isinstance(node, list) and node and rng.random() < 0.9:
            at = rng.randrange(len(node))
            changed = [self._changed(node[at])] if rng.random() < 0.8 else rng.choice(([], [node[at]] * 3))
            return [*node[:at], *changed, *node[at + 1 :]]
        return rng.choice(VALUES)

    def _borrowed(self, operation: str) -> dict[str, Any]:
        """Fields of other bodies, and fields that the document knows with values that it does not."""
        rng = self._rng
        other = _json(rng.choice(rng.choice(self._pool)).body)
        found = dict(rng.sample(list(other.items()), min(2, len(other)))) if isinstance(other, dict) else {}
        known = list(self._fields[operation])
        return found | ({rng.choice(known): rng.choice(VALUES)} if known else {})

    def _bytes(self, raw: bytes) -> bytes:
        rng = self._rng
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(4):
            case 0:
                return raw[:at]
            case 1:
                return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
            case 2:
                return raw[:at] + rng.choice(RAW) + raw[at:]
            case _:
                return raw + raw[at:]

    def _target(self, sent: Sent) -> str:
        rng = self._rng
        path, _, query = sent.target.partition("?")
        template = sent.operation.partition(" ")[2].split("/")
        parts = path.split("/")
        holes = [k for k, part in enumerate(template) if part.startswith("{") and k < len(parts)]
        if holes and rng.random() < 0.7:
            parts[rng.choice(holes)] = quote(rng.choice([*_IDS, "".join(rng.choices(string.printable, k=8))]), safe="%")
            return "/".join(parts) + (f"?{query}" if query else "")
        name = rng.choice(["limit", "after", "order", "purpose", "by", "since", "model", "starting_after", "x", ""])
        return f"{path}?{query}&{name}={quote(rng.choice(_QUERY), safe='')}"


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
