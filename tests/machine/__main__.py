"""python -m tests.machine: many examples, from a seed that it prints; or all mutations."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.machine.ground import Ground
from tests.machine.machine import Machine, RestartingMachine
from tests.machine.mutations import MUTATIONS, Mutation, caught_by
from tests.machine.run import run_machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--restarts", action="store_true", help="Redis is killed in each example (slow)")
    parser.add_argument("--no-shrink", action="store_true", help="report the first failing example as it is")
    parser.add_argument("--mutations", action="store_true", help="whether each mutation of the functions is caught")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder))
        try:
            return mutate(ground, wanted.seed) if wanted.mutations else examine(ground, wanted)
        finally:
            ground.close()


def examine(ground: Ground, wanted: argparse.Namespace) -> int:
    begun, kind = time.monotonic(), RestartingMachine if wanted.restarts else Machine
    shrink = not wanted.no_shrink
    run_machine(kind, ground, examples=wanted.examples, steps=wanted.steps, number=wanted.seed, shrink=shrink)
    for answer, count in sorted(ground.seen.items()):
        print(f"{count:8} {answer}")
    print(f"{wanted.examples} examples held in {time.monotonic() - begun:.0f} s")
    return 0


def mutate(ground: Ground, seed: int) -> int:
    missed = 0
    if wrong := caught_by(Mutation("none", ()), ground, examples=100, number=seed):
        print(f"the functions themselves fail, so this says nothing: {wrong}")
        return 2
    for mutation in MUTATIONS:
        found = caught_by(mutation, ground, examples=400, number=seed)
        missed += not found
        print(f"{'caught' if found else 'MISSED':7} {mutation.name:40} {found[:100]}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
