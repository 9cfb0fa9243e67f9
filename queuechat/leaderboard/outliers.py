"""Voters whose votes go against everybody else's, by a test that may be looked at after every vote.

Of each vote it is asked how many of the votes on the same two models, this one among them, were as far or further from
the favourite of the pair (the one that most of them prefer). If a voter votes as the others do, that share p is uniform
and independent of those before it (online conformal prediction, Vovk et al. 2005); votes come in three sizes only, so p
is known up to where in [p-, p+] it lies, and the evidence 1 / (2 sqrt p), whose mean is then 1 (Vovk and Wang 2021), is
averaged over that: 1 / (sqrt p- + sqrt p+). The product of the evidence of an honest voter's votes exceeds k with a
probability of at most 1 / k, however often one looks (Ville's inequality). Over all voters, Holm's procedure keeps the
chance of flagging any honest one below alpha.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from queuechat.leaderboard.battles import CleanBattle

ALPHA = 0.05
LEAST = 5  #: votes of a voter who is looked at
MOST = 100  #: votes of a voter that are looked at

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outlier:
    """A flagged voter; `p` is the chance that an honest one would have looked so at any time."""

    voter: str
    votes: int
    p: float


def find_outliers(battles: Sequence[CleanBattle], alpha: float = ALPHA) -> list[Outlier]:
    """The flagged voters, the clearest first. Battles are in the order of the votes."""
    by_voter: defaultdict[str, list[CleanBattle]] = defaultdict(list)
    everybody: defaultdict[Pair, Counter[float]] = defaultdict(Counter)
    for battle in battles:
        by_voter[battle.judge].append(battle)
        everybody[_pair(battle)][_points(battle)] += 1
    checked = [
        Outlier(voter, len(cast), _chance(cast, everybody)) for voter, cast in by_voter.items() if len(cast) >= LEAST
    ]
    return list(_holm(sorted(checked, key=lambda one: (one.p, one.voter)), alpha))


def _holm(checked: Sequence[Outlier], alpha: float) -> Iterable[Outlier]:
    for k, one in enumerate(checked):
        if one.p > alpha / (len(checked) - k):
            return
        yield one


def _chance(cast: Sequence[CleanBattle], everybody: dict[Pair, Counter[float]]) -> float:
    """1 over the most that the product of the evidence ever was."""
    seen = {pair: everybody[pair] - own for pair, own in _by_pair(cast).items()}
    total = most = 0.0
    for battle in cast[:MOST]:
        votes = seen[_pair(battle)]
        votes[_points(battle)] += 1
        total += math.log(_evidence(votes, _points(battle)))
        most = max(most, total)
    return math.exp(-most)


def _evidence(votes: Counter[float], vote: float) -> float:
    """Of a vote that is one of these."""
    # Turned so that the favourite's points count; as many for both: the first by name, for every voter.
    if votes[0.0] > votes[1.0]:
        votes, vote = Counter({1 - points: number for points, number in votes.items()}), 1 - vote
    further = sum(number for points, number in votes.items() if points < vote)
    return math.sqrt(votes.total()) / (math.sqrt(further) + math.sqrt(further + votes[vote]))


def _by_pair(cast: Iterable[CleanBattle]) -> dict[Pair, Counter[float]]:
    made: defaultdict[Pair, Counter[float]] = defaultdict(Counter)
    for battle in cast:
        made[_pair(battle)][_points(battle)] += 1
    return made


def _pair(battle: CleanBattle) -> Pair:
    return min(battle.model_a, battle.model_b), max(battle.model_a, battle.model_b)


def _points(battle: CleanBattle) -> float:
    """Of the first model by name."""
    return battle.score if battle.model_a < battle.model_b else 1 - battle.score
