"""`python -m tests.fuzz`: bad and good input for every operation of the API; exit code 1 when an answer was wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import fuzz


def main() -> int:
    """Run as many cases as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2, help="that send cases")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        figures, faults = asyncio.run(fuzz(Path(folder), given.seed, given.cases, given.processes))
    for fault in faults[:40]:
        print("WRONG:", fault)
    text = json.dumps({"seed": given.seed, **figures, "wrong": len(faults)}, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
