"""Whether the kernel has killed a process for want of memory: from outside that looks like anybody's SIGKILL."""

from __future__ import annotations

from pathlib import Path

_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))  # of this container; of this machine


def oom_kills() -> int:
    """How often it has done so, in this container if there is one; 0 where the kernel does not tell."""
    for counter in _COUNTERS:
        try:
            lines = counter.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
