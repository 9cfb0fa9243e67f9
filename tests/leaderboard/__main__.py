"""`python -m tests.leaderboard CASE`: how long ratings take, and how often their intervals cover the truth."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

import numpy as np

from queuechat.leaderboard.bradley_terry import bootstrap, fit
from queuechat.leaderboard.scale import interval
from queuechat.leaderboard.style import bootstrap_style, fit_style
from queuechat.leaderboard.tally import tally_of
from tests.leaderboard.synthetic import spread, votes_between


def speed(given: argparse.Namespace) -> dict[str, object]:
    """Seconds of the fit and of all rounds, from votes in arrays to intervals."""
    rng = np.random.default_rng(given.seed)
    votes = votes_between(spread(given.models, 600), given.battles, rng, ties=0.2)
    began = time.perf_counter()
    if given.style:
        x = rng.normal(size=(len(votes), 4))
        centre = fit_style(votes, x)
        fitted = time.perf_counter()
        interval(bootstrap_style(votes, x, centre, given.rounds, rng))
    else:
        tally = tally_of(votes)
        centre = fit(tally.points(tally.count[None]))[0]
        fitted = time.perf_counter()
        interval(bootstrap(tally, centre, given.rounds, rng))
    ended = time.perf_counter()
    return {"fit_s": round(fitted - began, 3), "bootstrap_s": round(ended - fitted, 2), "cores": os.cpu_count()}


def coverage(given: argparse.Namespace) -> dict[str, object]:
    """Share of all intervals, over many simulations, that cover the strength the votes were drawn by."""
    truth, covered, trials = spread(given.models), 0, 400
    for trial in range(trials):
        rng = np.random.default_rng(given.seed + trial)
        tally = tally_of(votes_between(truth, given.battles, rng))
        centre = fit(tally.points(tally.count[None]))[0]
        lower, upper = interval(bootstrap(tally, centre, given.rounds, rng))
        covered += int(((lower <= truth) & (truth <= upper)).sum())
    return {"intervals": trials * len(truth), "covered": round(covered / trials / len(truth), 4)}


def main() -> int:
    """Run the case that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.leaderboard", description=__doc__)
    parser.add_argument("case", choices=["speed", "coverage"])
    parser.add_argument("--battles", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--style", action="store_true", help="with style control")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(json.dumps({**vars(given), **{"speed": speed, "coverage": coverage}[given.case](given)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
