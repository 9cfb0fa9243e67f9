"""A command in a terminal of its own, and what stands on its screen."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][A-Z0-9])")
_HOME = "\x1b[H"


class Terminal:
    """`async with Terminal(url, folder, "top") as terminal` runs the command until it ends, or is left."""

    def __init__(self, url: str, folder: Path, *arguments: str, size: tuple[int, int] = (130, 40)):
        self._arguments, self._size = arguments, size  # columns, lines
        self._env = {"PATH": os.defpath, "HOME": str(folder), "QUEUECHAT_STATE_DIR": str(folder), "TERM": "xterm"}
        self._env |= {"QUEUECHAT_REDIS_URL": url, "LANG": "C.UTF-8"}
        self._written = asyncio.Event()
        self.output = ""

    async def __aenter__(self) -> Terminal:
        self._ours, self._theirs = pty.openpty()
        self.resize(*self._size)
        self.modes = termios.tcgetattr(self._theirs)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "queuechat", *self._arguments),
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=self._env | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.set_blocking(self._ours, False)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> None:
        self.output += os.read(self._ours, 1 << 16).decode(errors="replace")
        self._written.set()

    @property
    def screen(self) -> list[str]:
        """The lines of the last picture that is complete: it fills the terminal, or the next one has begun."""
        _, *pictures = self.output.split(_HOME)
        last = [_CONTROL.sub("", picture).splitlines() for picture in pictures[-2:]]
        columns, lines = self._size
        if last and not (len(last[-1]) == lines and len(last[-1][-1]) >= columns):
            last.pop()
        return last[-1] if last else []

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        self._size = columns, lines
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def now_modes(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self._theirs)

    async def until(self, seen: str | Callable[[list[str]], bool]) -> list[str]:
        """The first screen with this text on it, or that is so."""
        try:
            async with asyncio.timeout(60):
                while True:
                    self._written.clear()
                    lines = self.screen
                    if (seen in "\n".join(lines)) if isinstance(seen, str) else seen(lines):
                        return lines
                    await self._written.wait()
        except TimeoutError:
            raise AssertionError(f"never seen: {seen}\n" + "\n".join(self.screen)) from None
