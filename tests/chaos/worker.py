"""One place in a fleet: a supervisor with its engine child, known by their process ids."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from queuechat.protocol import WorkerCard
from tests.processes import Command


def parent_of(pid: int) -> int:
    """The parent of a process; 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


class Worker:
    """A supervisor and its child; `born` again when both were killed."""

    def __init__(self, number: int):
        self.number = number
        self.busy = False  #: something is being done to it
        self._command: Command | None = None
        self._card: WorkerCard | None = None
        self._slain = 0

    @property
    def command(self) -> Command:
        assert self._command
        return self._command

    @property
    def pid(self) -> int:
        return self.command.process.pid

    @property
    def id(self) -> str:
        return self._card.id if self._card else ""

    @property
    def child(self) -> int:
        """The engine child that serves now; 0 when there is none that is known to."""
        card = self._card
        serves = card and card.state == "ready" and card.pid != self._slain and parent_of(card.pid) == self.pid
        return card.pid if card and serves else 0

    def born(self, command: Command) -> None:
        self._command, self._card = command, None

    def seen(self, cards: Iterable[WorkerCard]) -> None:
        """Find oneself among the cards: it speaks for our supervisor, or for a child of it."""
        for card in cards:
            if card.id == self.id or self.pid in (card.pid, parent_of(card.pid)):
                self._card = card

    def kill_child(self) -> int:
        """SIGKILL to the engine child; answers its pid."""
        self._slain = self.child
        os.kill(self._slain, signal.SIGKILL)
        return self._slain

    def to_child(self) -> Callable[[signal.Signals], None]:
        """What sends signals to the child that serves now, whatever becomes of it."""
        return partial(os.kill, self.child)

    def kill(self, *, both: bool) -> None:
        """SIGKILL to the supervisor; to the child too, or it notices by itself."""
        if both and self.child:
            self.kill_child()
        with contextlib.suppress(ProcessLookupError):
            self.command.send(signal.SIGKILL)
