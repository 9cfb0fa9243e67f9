"""`python -m tests.service CASE`: a figure of docs/guarantees.md; exit code 1 when something was wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.service.arena import arena
from tests.service.cancels import cancels
from tests.service.fair import fair
from tests.service.overload import overload
from tests.service.price import price
from tests.service.real import real
from tests.service.rolling import rolling

Case = Callable[[Path, int, int], Awaitable[tuple[dict[str, Any], list[str]]]]

CASES: dict[str, tuple[Case, int]] = {
    "cancels": (cancels, 500),
    "rolling": (rolling, 2),
    "overload": (overload, 120),
    "fair": (fair, 60),
    "price": (price, 7),
    "real": (real, 50),
    "arena": (arena, 100),
}


def main() -> int:
    """Run the case that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.service", description=__doc__)
    parser.add_argument("case", choices=list(CASES), help="; ".join(f"{k}: {f.__doc__}" for k, (f, _) in CASES.items()))
    parser.add_argument(
        "--size",
        type=int,
        help="cancels: requests; real: kills; rolling, price: rounds; overload, fair: seconds; arena: battles",
    )
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    case, size = CASES[given.case]
    with tempfile.TemporaryDirectory(prefix="service-", ignore_cleanup_errors=True) as folder:
        figures, faults = asyncio.run(_run(case, Path(folder), given.seed, given.size or size))
    for fault in faults[:20]:
        print("WRONG:", fault)
    text = json.dumps({"case": given.case, "seed": given.seed, **figures, "wrong": len(faults)}, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 1 if faults else 0


async def _run(case: Case, folder: Path, seed: int, size: int) -> tuple[dict[str, Any], list[str]]:
    return await case(folder, seed, size)


if __name__ == "__main__":
    sys.exit(main())
