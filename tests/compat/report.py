"""What a client program is told, and what it reports: one JSON line per feature. Standard library only, because it runs
in the environments of the clients."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

CELL_S = 90
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "enum": ["Paris", "Rome"]}, "big": {"type": "boolean"}},
    "required": ["name", "big"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Site:
    """Where the server is. `model` is small and real, `slow` never ends by itself; `frugal` is a key that may have one
    request running at a time."""

    root: str
    key: str
    frugal: str
    model: str
    slow: str

    @classmethod
    def told(cls) -> Site:
        """From the environment, COMPAT_*."""
        return cls(**{name: os.environ[f"COMPAT_{name.upper()}"] for name in cls.__dataclass_fields__})

    @property
    def v1(self) -> str:
        return f"{self.root}/v1"

    def get(self, path: str) -> Any:
        """The JSON at that path."""
        return json.loads(self._open(path).read())

    def paths(self) -> set[str]:
        """The routes that the server says it has."""
        return set(self.get("/openapi.json")["paths"])

    def refusals(self) -> int:
        """How many requests the server has answered with 429 because a key had too many running."""
        text = self._open("/metrics").read().decode()
        return round(
            sum(map(float, re.findall(r'^queuechat_refused\w*\{code="concurrency_limit"\} (\S+)$', text, re.M)))
        )

    def until_idle(self) -> str:
        """Wait until nothing of the slow model runs: its requests would go on for minutes if nobody cancelled them."""
        for _ in range(200):
            if not any(self.get(f"/v1/models/{self.slow}")["queue"].values()):
                return "its slot is free"
            time.sleep(0.05)
        raise AssertionError("the client has left and its request still runs")

    @contextlib.contextmanager
    def busy_key(self) -> Iterator[None]:
        """The frugal key has its one request running until the server has refused another; that must happen within the
        block."""
        before = self.refusals()
        body = {"model": self.slow, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2000, "stream": True}
        held = self._open("/v1/chat/completions", self.frugal, body)
        held.readline()
        over = threading.Event()

        def let_go() -> None:
            while not over.is_set() and self.refusals() == before:
                time.sleep(0.02)
            held.close()

        letting_go = threading.Thread(target=let_go)
        letting_go.start()
        try:
            yield
        finally:
            over.set()
            letting_go.join()
            self.until_idle()
        assert self.refusals() > before, "the server refused nothing, so nothing was tried again"

    def _open(self, path: str, key: str = "", body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.urlopen(urllib.request.Request(self.root + path, data, headers), timeout=60)


Cell = Callable[[], Any]


class Report:
    """`@report.of("chat")` makes a function a cell: it answers what was seen, or raises. With `needs`, the server may
    lack that route, which is told as such."""

    def __init__(self, site: Site):
        self._site = site
        self._cells: dict[str, tuple[Cell, str]] = {}

    def of(self, feature: str, needs: str = "") -> Callable[[Cell], Cell]:
        def keep(cell: Cell) -> Cell:
            self._cells[feature] = (cell, needs)
            return cell

        return keep

    def run(self) -> None:
        """Every cell, or those that the command line names, one after the other."""
        paths = self._site.paths()
        for feature, (cell, needs) in self._cells.items():
            if not sys.argv[1:] or feature in sys.argv[1:]:
                row = _try(cell) if not needs or needs in paths else {"ok": None, "saw": f"no {needs} here"}
                print(json.dumps({"feature": feature, **row}), flush=True)


def _try(cell: Cell) -> dict[str, Any]:
    def late(*_: object) -> None:
        raise TimeoutError(f"nothing for {CELL_S} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(CELL_S)
    try:
        saw = cell()
        return {"ok": True, "saw": str(asyncio.run(saw) if inspect.iscoroutine(saw) else saw)}
    except Exception as error:
        return {"ok": False, "saw": f"{type(error).__name__}: {error}"[:600]}
    finally:
        signal.alarm(0)


E = TypeVar("E", bound=Exception)


def caught(kind: type[E], call: Cell) -> E:
    """The error of that class that the call raises."""
    try:
        got = call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was due, and there was {got!r}")


def check(true: object, saw: object) -> str:
    """What was seen, if it is as it should be."""
    assert true, f"saw {saw!r}"
    return str(saw)
