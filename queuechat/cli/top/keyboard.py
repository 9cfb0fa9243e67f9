"""Keys as they are pressed, by name; the terminal is put back as it was, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import Callable, Iterator

_NAMES = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[C": "right", b"\x1bOC": "right", b"\x1b[D": "left", b"\x1bOD": "left",
    b"\x1b[Z": "shift-tab", b"\t": "tab", b"\x1b": "escape", b"\r": "enter", b"\n": "enter",
}  # fmt: skip
_LONGEST = 16  # bytes of what terminals send for one key
_SPLIT_S = 0.05  # over a slow line the bytes of one key may come apart


@contextlib.contextmanager
def keys_of(terminal: int, tell: Callable[[str], None]) -> Iterator[None]:
    """While it is open, `tell` is told each key that is pressed at the terminal (a file descriptor), on the running
    loop; once that has hung up, "end of input"."""
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(terminal)
    reader = _Reader(terminal, tell, loop)
    try:
        tty.setcbreak(terminal)
        modes = termios.tcgetattr(terminal)
        modes[6][termios.VSUSP] = b"\0"  # who suspends it would get a shell without echo, on another screen
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
        loop.add_reader(terminal, reader.read)
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class _Reader:
    def __init__(self, terminal: int, tell: Callable[[str], None], loop: asyncio.AbstractEventLoop):
        self._terminal, self._tell, self._loop = terminal, tell, loop
        self._rest = b""
        self._patience: asyncio.TimerHandle | None = None

    def read(self) -> None:
        if self._patience:
            self._patience.cancel()
        try:
            data = os.read(self._terminal, 1024)
        except OSError:  # what Linux says of a terminal that is gone
            data = b""
        if not data:
            self._loop.remove_reader(self._terminal)
            self._tell("end of input")
            return
        names, self._rest = parse(self._rest + data)
        for name in names:
            self._tell(name)
        if self._rest:
            self._patience = self._loop.call_later(_SPLIT_S, self._give_up)

    def _give_up(self) -> None:
        if self._rest == b"\x1b":
            self._tell("escape")
        self._rest = b""


def parse(data: bytes) -> tuple[list[str], bytes]:
    """The keys in what a terminal sent, and the beginning of one whose end has not come yet.

    Letters are their own names; a key that means nothing here is called "unknown".
    """
    names: list[str] = []
    while data:
        size = _size(data)
        if size is None:
            return names, data
        key, data = data[:size], data[size:]
        names.append(_NAMES.get(key) or (key.decode() if key.isascii() and key.decode().isprintable() else "unknown"))
    return names, b""


def _size(data: bytes) -> int | None:
    """Bytes of the first key; None when it is not all there."""
    if data[:1] != b"\x1b":
        return 1
    if len(data) == 1:
        return None
    if data[1:2] == b"O":
        return 3 if len(data) >= 3 else None
    if data[1:2] != b"[":
        return 1
    end = next((at for at, byte in enumerate(data[2:_LONGEST], 2) if 0x40 <= byte <= 0x7E), None)
    return end + 1 if end else len(data) if len(data) >= _LONGEST else None
