"""What processes use: CPU time and memory, their children included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psutil

from queuechat.errors import InvalidRequest


class Processes:
    """Watches processes of this machine from now on."""

    def __init__(self, pids: Sequence[int]):
        """Raises InvalidRequest when there is no such process."""
        self._roots = [_process(pid) for pid in pids]
        self._before = {process: _cpu_s(process) for process in self._all()}

    def cpu_s(self) -> float:
        """Seconds of CPU that they have used since then; those of a child that has ended are lost."""
        return sum(_cpu_s(process) - self._before.get(process, 0.0) for process in self._all())

    def rss(self) -> int:
        """Bytes that they hold in memory now. Of those that were there at first: to look for children takes long."""
        return sum(_rss(process) for process in self._before)

    def _all(self) -> Iterator[psutil.Process]:
        seen = set()
        for root in self._roots:
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            yield from (process for process in family if process not in seen)
            seen.update(family)


def _process(pid: int) -> psutil.Process:
    try:
        return psutil.Process(pid)
    except (psutil.NoSuchProcess, ValueError):
        raise InvalidRequest(f"there is no process {pid}", param="pids") from None


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
