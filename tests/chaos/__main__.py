"""`python -m tests.chaos CASE`: a case at full size; exit code 1 when anything was wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.cases import CASES


def main() -> int:
    """Run the case that the command line names."""
    given = _arguments()
    run, size = CASES[given.case]
    seed = random.randrange(2**32) if given.seed is None else given.seed
    print(f"{given.case}: seed {seed}", flush=True)
    logging.basicConfig(level=logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{given.case}-"))
    report, faults = asyncio.run(run(seed, folder, given.kills or given.jobs or size))
    for fault in faults[:50]:
        print("WRONG:", fault)
    print(report.table(faults))
    if faults:
        print(f"what the processes said, and Redis' files, are in {folder}")
    else:
        shutil.rmtree(folder)
    if given.json:
        given.json.write_text(json.dumps(report.figures(faults), indent=2) + "\n")
    return 1 if faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("case", choices=list(CASES), help="; ".join(f"{k}: {f.__doc__}" for k, (f, _) in CASES.items()))
    parser.add_argument("--seed", type=int, help="schedule of the faults and the questions; drawn when not given")
    parser.add_argument("--kills", type=int, help="how many faults (all but jobs)")
    parser.add_argument("--jobs", type=int, help="how many requests (jobs)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
