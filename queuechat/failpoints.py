"""Named places, between two effects of worker, supervisor or API, at which a test can make the process fail.

    QUEUECHAT_FAILPOINT=publish.before:7:kill,admit.after~bad word:1:abort

Each entry is `point[~text]:nth:action`: at the nth visit of the point (of those whose detail holds the text) the
process does this to itself:

    kill    SIGKILL, as the kernel's out-of-memory killer or an operator would
    abort   SIGABRT, as a native library that found its memory corrupt
    stop    SIGSTOP, as a host that is paused; somebody else has to send SIGCONT
    hang    blocks its event loop for ever
    raise   raises RuntimeError

With QUEUECHAT_FAILPOINT_LOG=FILE each entry acts once however many processes share the file, and leaves a line there.
Nothing of this is on unless the variable is set; then a process says so loudly.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from queuechat.errors import Misconfigured

log = logging.getLogger(__name__)

POINTS = {
    "claim.before": "worker: a place is free, jobs are about to be claimed",
    "claim.after": "worker: jobs were claimed, nothing is done with them yet",
    "log.before": "worker: what an earlier owner delivered is about to be read",
    "admit.before": "worker: the prompt is ready, the engine has not heard of it (detail: the job)",
    "admit.after": "worker: the engine has the sequence (detail: the job)",
    "step.after": "worker: the engine has made a step, nobody else knows of it",
    "publish.before": "worker: tokens are about to be published",
    "publish.after": "worker: tokens were published",
    "finish.before": "worker: all tokens are out, the end is not",
    "finish.after": "worker: the end is out",
    "drain.child": "worker: the engine child was told to take nothing new",
    "spawn.after": "supervisor: a child was started",
    "renew.before": "supervisor: leases are about to be renewed",
    "renew.after": "supervisor: leases were renewed",
    "announce.before": "supervisor: the cards are about to be renewed",
    "announce.after": "supervisor: the cards were renewed",
    "watchdog.before": "supervisor: it is about to look whether its child moves (detail: the worker's state)",
    "release.before": "supervisor: a dead child's jobs are about to be handed back",
    "release.after": "supervisor: a dead child's jobs were handed back",
    "drain.supervisor": "supervisor: it was told to stop",
    "goodbye.before": "supervisor: the last thing it does",
    "body.after": "API: key and body are read, nothing is queued",
    "enqueue.before": "API: the jobs are about to be queued",
    "enqueue.after": "API: the jobs are queued, the client does not know",
    "subscribe.after": "API: the subscription is confirmed",
    "fill.before": "API: a gap is about to be filled from the log",
    "fill.after": "API: the log was read",
    "write.before": "API: an event is about to be written to the client",
    "write.after": "API: an event was written to the client",
    "watch.before": "API: the viewer marks are about to be renewed",
    "watch.after": "API: the viewer marks were renewed",
    "gone.before": "API: the client has left, nobody knows yet",
    "record.before": "background: log lines were read from Redis, no file has them yet",
    "record.after": "background: log lines are on the disk, and still in Redis",
    "drain.api": "API: it was told to stop",
}


@dataclass(slots=True)
class _Armed:
    text: str
    left: int
    action: str


def _read(value: str) -> dict[str, _Armed]:
    armed = {}
    for entry in filter(None, value.split(",")):
        point, _, rest = entry.partition(":")
        nth, _, action = rest.partition(":")
        name, _, text = point.partition("~")
        if name not in POINTS or not nth.isdecimal() or action not in _ACTIONS:
            raise Misconfigured(
                f"QUEUECHAT_FAILPOINT: {entry!r} is not point[~text]:nth:action; points are {', '.join(POINTS)}; "
                f"actions {', '.join(_ACTIONS)}"
            )
        armed[name] = _Armed(text, int(nth), action)
    if armed:
        log.warning("FAILPOINTS are on: this process will fail on purpose at %s", ", ".join(armed))
    return armed


def _hang() -> None:
    while True:
        time.sleep(3600)


def _raise() -> None:
    raise RuntimeError("a failpoint")


_ACTIONS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hang": _hang,
    "raise": _raise,
}


def failpoint(name: str, detail: object = None) -> None:
    """Fail here if that was asked for; `detail` is searched for the text that an entry may name."""
    if _armed:
        _visit(name, detail)


def _visit(name: str, detail: object) -> None:
    armed = _armed.get(name)
    if armed is None or armed.text not in repr(detail):
        return
    armed.left -= 1
    if armed.left == 0 and _first(name, armed.action):
        _ACTIONS[armed.action]()


def _first(name: str, action: str) -> bool:
    """Whether nobody who shares our log was here before; a line says that we were."""
    file = os.environ.get("QUEUECHAT_FAILPOINT_LOG")
    if not file:
        return True
    path = Path(file)
    if path.exists() and any(line.split()[0] == name for line in path.read_text().splitlines()):
        return False
    with path.open("a") as out:
        out.write(f"{name} {action} {os.getpid()}\n")
    return True


_armed = _read(os.environ.get("QUEUECHAT_FAILPOINT", ""))
