"""Asks the small real model for answers under many JSON Schemas; prints how many are valid. Fails if one is not."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter

from tests.schemas.generator import schema
from tests.schemas.judging import Judged, judged
from tests.workers.engines.conftest import ENGINES, started

AT_A_TIME = 16


async def measure(engine: str, first: int, count: int) -> list[Judged]:
    driver = await started(engine, ENGINES[engine]())
    driver.patience_s = 3600.0
    answers: list[Judged] = []
    try:
        for start in range(first, first + count, AT_A_TIME):
            answers += await judged(driver, range(start, min(start + AT_A_TIME, first + count)))
            print(f"{len(answers)} of {count}", file=sys.stderr, flush=True)
    finally:
        await driver.close()
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.schemas", description=__doc__)
    parser.add_argument("--engine", choices=["transformers", "llamacpp"], default="transformers")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first schema")
    args = parser.parse_args()
    began = time.monotonic()
    answers = asyncio.run(measure(args.engine, args.seed, args.count))
    bad = [answer for answer in answers if answer.fault]
    for answer in bad:
        print(f"seed {answer.seed}: {answer.fault}\n  {schema(answer.seed)}\n  {answer.text!r}")
    ends = Counter(answer.reason for answer in answers)
    valid = sum(answer.reason == "stop" and not answer.fault for answer in answers)
    took = time.monotonic() - began
    print(
        f"{args.engine}: {len(answers)} schemas, {dict(ends)}, valid {valid} of {ends['stop']} that ended, {took:.0f} s"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
