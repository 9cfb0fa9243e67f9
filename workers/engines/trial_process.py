"""The process in which grammars are tried: `python -m workers.engines.trial_process`.

It says a line when it is ready, and one for each line of JSON that it has read: that this grammar was compiled, or
refused, in the end. What takes too much ends the process instead: the kernel holds it to its limits, since llguidance
does not look up from its work. It ends with its standard input, too.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper

from queuechat.errors import InvalidRequest
from queuechat.protocol import Grammar
from workers.engines.matching import compiled

CPU_S = 2.0  # for one grammar; those of everyday take milliseconds
WALL_S = 20.0
MEMORY = 512 << 20  # bytes beyond what it has
_MOST_IDS = 1 << 20

_NAMES = re.compile(r"<[^<>\s]+>")
_IDS = re.compile(r"<\[[^\]]*\]>")


class _Letters:
    """A vocabulary of bytes, which has each special token that a grammar names, and ids enough for it."""

    eos_token_id = 256
    bos_token_id = None

    def __init__(self, names: Sequence[str] = (), size: int = 0):
        special = ["<|eos|>", *names]
        special += [f"<|{id}|>" for id in range(256 + len(special), size)]
        self.tokens = [bytes([byte]) for byte in range(256)] + [b"\xff" + name.encode() for name in special]
        self.special_token_ids = list(range(256, len(self.tokens)))

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def lexicon_of(grammar: Grammar) -> Any:
    """An `LLTokenizer` in which nothing is unknown that the grammar names: else it would be refused before its time."""
    if grammar.kind != "lark":
        return LLTokenizer(TokenizerWrapper(_Letters()))
    ids = [int(digits) for named in _IDS.findall(grammar.text) for digits in re.findall(r"\d{1,9}", named)]
    size = min(max(ids, default=0) + 1, _MOST_IDS)
    return LLTokenizer(TokenizerWrapper(_Letters(sorted(set(_NAMES.findall(grammar.text))), size)))


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _say()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        grammar = Grammar(asked["kind"], asked["text"])
        _bound(CPU_S, WALL_S)
        with suppress(InvalidRequest):  # its engine will say so, by what it knows of its own vocabulary
            compiled(lexicon_of(grammar), grammar, any_space=asked["any_space"])
        _bound(0, 0)
        _say()


def _bound(cpu_s: float, wall_s: float) -> None:
    """Signals that nobody handles end the process. 0 is no limit of time."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)
    with suppress(OSError, ValueError):  # not every system has these
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, most))


def _say() -> None:
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
