"""Grammars are tried in a process of their own before an engine compiles them.

llguidance cannot be interrupted, and its limits do not hold everywhere: a small grammar may take minutes or gigabytes.
A process that takes too much is killed by what it has set itself, and the grammar is refused from then on.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections import OrderedDict
from functools import cache

from queuechat.errors import InvalidRequest
from queuechat.protocol import Grammar

PROCESSES = 2  # so that one bomb does not keep all others waiting
_KNOWN = 4096  # grammars whose outcome is remembered

Tried = tuple[Grammar, bool]


class Trials:
    """Processes that compile grammars; they are started when they are needed, and again after a death."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._idle: queue.LifoQueue[_Trier] = queue.LifoQueue()
        for _ in range(processes):
            self._idle.put(_Trier())
        self._lock = threading.Lock()
        self._known: OrderedDict[Tried, bool] = OrderedDict()

    def check(self, grammar: Grammar, *, any_space: bool = False) -> None:
        """Returns when the grammar can be compiled, or is refused, in little time and memory. Blocks for seconds.

        Raises:
            InvalidRequest: of `response_format`: it takes too much of either.
        """
        tried = (grammar, any_space)
        ends = self._outcome(tried)
        if ends is None:
            trier = self._idle.get()
            try:
                ends = self._outcome(tried)  # somebody may have tried it meanwhile
                if ends is None:
                    ends = trier.ends(grammar, any_space)
                    self._remember(tried, ends)
            finally:
                self._idle.put(trier)
        if not ends:
            raise InvalidRequest(
                f"this {grammar.kind} takes too long, or too much memory, to be compiled: make it simpler",
                param="response_format",
            )

    def close(self) -> None:
        """Ends the processes that are idle; a later check starts them again."""
        for trier in list(self._idle.queue):
            trier.end()

    def _outcome(self, tried: Tried) -> bool | None:
        with self._lock:
            return self._known.get(tried)

    def _remember(self, tried: Tried, ends: bool) -> None:
        with self._lock:
            self._known[tried] = ends
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)


@cache
def trials() -> Trials:
    """Those of this process."""
    return Trials()


class _Trier:
    """One process, used by one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ends(self, grammar: Grammar, any_space: bool) -> bool:
        """Whether the process is still there after it has compiled the grammar."""
        asked = json.dumps({"kind": grammar.kind, "text": grammar.text, "any_space": any_space}).encode()
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = _start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(asked + b"\n")
            self._process.stdin.flush()
            ended = bool(self._process.stdout.readline())
        except BrokenPipeError:
            ended = False
        if not ended:
            self.end()
        return ended

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()


def _start() -> subprocess.Popen[bytes]:
    """A process that is ready. Raises OSError when it cannot come so far, which is no grammar's fault."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.engines.trial_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what Rust says of its own end
    )
    assert process.stdout is not None
    if not process.stdout.readline():
        raise OSError(f"the process that tries grammars does not start (exit code {process.wait()})")
    return process
