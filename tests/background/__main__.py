"""`python -m tests.background CASE`: the long versions; exit code 1 when something was wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.background.kills import kills
from tests.background.latency import latency
from tests.background.votes import votes

CASES = {"kills": (kills, 5000), "latency": (latency, 400), "votes": (votes, 2000)}


def main() -> int:
    """Run the case that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.background", description=__doc__)
    parser.add_argument("case", choices=list(CASES), nargs="?", default="kills")
    parser.add_argument("--size", type=int, help="kills: lines of the batch; latency: calls; votes: battles")
    parser.add_argument("--rounds", type=int, default=3, help="how often each process is killed")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    case, size = CASES[given.case]
    with tempfile.TemporaryDirectory(prefix="background-", ignore_cleanup_errors=True) as folder:
        figures, faults = asyncio.run(case(Path(folder), given.seed, given.size or size, given.rounds))
    for fault in faults[:20]:
        print("WRONG:", fault)
    print(json.dumps({"case": given.case, "seed": given.seed, **figures, "wrong": len(faults)}, indent=2))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
