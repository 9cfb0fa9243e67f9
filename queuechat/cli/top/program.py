"""The full screen: reads once a second, draws when something has changed, does what a yes was said to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.live import Live

from queuechat import keys
from queuechat.bus import Bus
from queuechat.cli.top.choices import Choices, Deed, Pane, model_of
from queuechat.cli.top.keyboard import keys_of
from queuechat.cli.top.screen import screen
from queuechat.cli.worker import tell_to_drain
from queuechat.errors import QueuechatError
from queuechat.roster import take_census
from queuechat.timeline import Timeline, list_jobs
from queuechat.watching import Watch, take_reading

_JOBS = 100  # of the chosen model, of each lane


class Program:
    """One terminal. It goes on while Redis is away, and says so."""

    def __init__(self, bus: Bus, console: Console):
        self._bus, self._console = bus, console
        self._watch = Watch()
        self._choices = Choices()
        self._jobs: list[Timeline] = []
        self._away_since = 0.0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until somebody quits, or the terminal or a signal says so."""
        with (
            _silence(),
            self._signals(),
            keys_of(sys.stdin.fileno(), self._press),
            Live(console=self._console, screen=True, auto_refresh=False) as live,
        ):
            reading = self._start(self._read())
            while not self._choices.ended:
                if reading.done():
                    reading.result()  # a fault of ours ends the program, not only its figures
                live.update(self._drawn(), refresh=True)
                await self._changed.wait()
                self._changed.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in ends:
            loop.add_signal_handler(number, self._press, "end of input")
        loop.add_signal_handler(signal.SIGWINCH, self._changed.set)
        try:
            yield
        finally:
            for number in (*ends, signal.SIGWINCH):
                loop.remove_signal_handler(number)

    def _start(self, part: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(part)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    # -- what is seen ----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                self._watch.add(await take_reading(self._bus, await take_census(self._bus)))
                self._away_since = 0.0
                self._show()
                await self._read_jobs()
            except QueuechatError:
                self._away_since = self._away_since or time.monotonic()
            self._changed.set()
            await asyncio.sleep(keys.BEAT_S)

    async def _read_jobs(self) -> None:
        model = model_of(self._choices)
        found = await list_jobs(self._bus, [model], _JOBS) if model else []
        if model != model_of(self._choices):
            return  # another was chosen meanwhile
        self._jobs = sorted(found, key=lambda job: job.queued)
        self._show()

    def _show(self) -> None:
        self._choices.show(Pane.MODELS, self._watch.models)
        self._choices.show(Pane.WORKERS, self._watch.workers)
        self._choices.show(Pane.JOBS, self._jobs)

    def _drawn(self) -> RenderableType:
        width, height = self._console.size
        away = ""
        if self._away_since:
            since = time.monotonic() - self._away_since
            away = f"Redis does not answer, for {since:.0f} s now; what is below was seen last"
        return screen(self._choices, away, width, height)

    # -- what is done ----------------------------------------------------------------------------------------------

    def _press(self, key: str) -> None:
        if key == "end of input":  # also when it is asking something
            self._choices.ended = True
        before = model_of(self._choices)
        deed = self._choices.press(key)
        self._show()
        if deed:
            self._start(self._do(deed))
        elif model_of(self._choices) != before:
            self._jobs = []
            self._show()
            self._start(self._look_again())
        self._changed.set()

    async def _look_again(self) -> None:
        with contextlib.suppress(QueuechatError):
            await self._read_jobs()
        self._changed.set()

    async def _do(self, deed: Deed) -> None:
        try:
            self._choices.said = await (self._cancel(deed) if deed.what == "cancel" else self._drain(deed))
        except QueuechatError as error:
            self._choices.said = f"not done: {error.message}"
        self._changed.set()
        await self._look_again()

    async def _cancel(self, deed: Deed) -> str:
        (word,) = await self._bus.cancel(deed.model, [deed.id])
        return f"{deed.id} {'cancelled' if word == 'OK' else 'had ended already'}"

    async def _drain(self, deed: Deed) -> str:
        return await tell_to_drain(self._bus, deed.id)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Log lines would lie across the screen, which says itself what is wrong."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
