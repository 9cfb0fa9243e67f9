"""The command's own door, its imports done once: each line that is read is one command, run in a process of its own.

A line holds arguments, environment and the folder with the file `stdin`; `stdout` and `stderr` are written there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from queuechat.cli import app
from queuechat.cli import main as command


def main() -> None:
    app.register()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(ask: dict[str, Any]) -> None:
    """Be the command: nothing of the door but its imports is there."""
    os.environ.clear()
    os.environ.update(ask["env"])
    folder = Path(ask["folder"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(folder / name, mode), number)
    sys.stdin = open(0)  # noqa: SIM115  the old one has read lines ahead
    sys.argv = ["queuechat", *ask["arguments"]]
    code: Any = 1
    try:
        command()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
