"""A file of requests run by the process that was asked to, for `queuechat batch run`.

The output file is all that is remembered: it is read back at the start, a line that a crash has cut off is cut away,
and every other result in it stands.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.credentials import NOBODY
from queuechat.dialects.lines import Line
from queuechat.errors import InvalidRequest
from queuechat.roster import Roster
from queuechat.settings import Settings
from workers.background.asking import Asker, Outcome, line_id
from workers.background.input import check, remaining
from workers.background.window import Window

_DAY_S = 86400.0


@dataclass(slots=True)
class Tally:
    """How many requests there are, and how many have an answer or an error by now."""

    total: int
    completed: int = 0
    failed: int = 0


class Output:
    """The file of results; each append is on the disk when it returns."""

    def __init__(self, path: Path):
        self._path = path

    def read_back(self) -> dict[str, bool]:
        """custom_id of each result, and whether it is an answer; a last line that was cut off is cut away.

        Raises:
            InvalidRequest: it is something else than results.
        """
        done: dict[str, bool] = {}
        if not self._path.exists():
            return done
        whole = 0
        with self._path.open("r+b") as file:
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    break
                done.update([self._result(raw, number)])
                whole += len(raw)
            file.truncate(whole)
        return done

    def _result(self, raw: bytes, number: int) -> tuple[str, bool]:
        try:
            row = orjson.loads(raw)
            return str(row["custom_id"]), (row["response"] or {}).get("status_code") == 200
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise InvalidRequest(
                f"line {number} of {self._path} is no result of a batch: name another file, or move this one away"
            ) from None

    def append(self, outcomes: Sequence[Outcome]) -> None:
        with self._path.open("ab") as file:
            file.write(b"".join(orjson.dumps(outcome.record) + b"\n" for outcome in outcomes))
            file.flush()
            os.fsync(file.fileno())


def run_file(settings: Settings, redis_url: str, source: Path, target: Path, console: Console) -> Tally:
    """Ask what has no result yet, with a progress bar; SIGINT and SIGTERM stop it and cancel what runs.

    Raises:
        InvalidRequest: a line is no request, or `target` holds something else.
        BusUnavailable, Misconfigured: Redis does not answer, or refuses us.
    """
    with source.open("rb") as content:
        found = check(content, None, settings.body_room)
    if found.faults:
        first = found.faults[0]
        where = f", line {first.line}" if first.line else ""
        raise InvalidRequest(f"{source}{where}: {first.message}", param=first.param)
    output = Output(target)
    return asyncio.run(_Run(settings, output, output.read_back(), found.total, console).run(redis_url, source))


class _Run:
    def __init__(self, settings: Settings, output: Output, done: dict[str, bool], total: int, console: Console):
        self._settings = settings
        self._output, self._done, self._tally = output, done, Tally(total)
        self._bar = Progress(
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
            *(TimeElapsedColumn(), TimeRemainingColumn()),
            console=console,
        )

    async def run(self, redis_url: str, source: Path) -> Tally:
        async with AsyncExitStack() as stack:
            bus = await Bus(redis_url).open()
            stack.push_async_callback(bus.close)
            client = await stack.enter_async_context(Client(bus, queue_limit=0))
            roster = await stack.enter_async_context(Roster(bus))
            content = stack.enter_context(source.open("rb"))
            # Ids of this run alone: what an earlier one has cancelled is asked anew.
            name = secrets.token_hex(16)
            asker = Asker(
                *(client, roster),
                bearer=NOBODY,
                expires_at=time.time() + _DAY_S,
                id_of=lambda line: line_id(name, line),
                reasoning_field=self._settings.reasoning_field,
            )
            window = Window(asker, self._settings.batch_window, self._keep, cancels=True)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, window.halt)
            stack.enter_context(self._bar)
            self._task = self._bar.add_task("requests", total=self._tally.total)
            await window.run(self._undone(remaining(content, (), None)))
        return self._tally

    def _undone(self, lines: Iterator[Line]) -> Iterator[Line]:
        for line in lines:
            ok = self._done.get(line.custom_id)
            if ok is None:
                yield line
            else:
                self._count(ok)

    async def _keep(self, outcomes: Sequence[Outcome]) -> None:
        await asyncio.to_thread(self._output.append, outcomes)
        for outcome in outcomes:
            self._count(outcome.ok)

    def _count(self, ok: bool) -> None:
        self._tally.completed += ok
        self._tally.failed += not ok
        self._bar.advance(self._task)
