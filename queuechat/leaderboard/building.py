"""From battles to the document: what is used, which tables there are, and each table's ratings."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from queuechat.errors import InvalidRequest
from queuechat.leaderboard.battles import CleanBattle
from queuechat.leaderboard.bradley_terry import bootstrap, fit, members
from queuechat.leaderboard.categories import ALL, Category, in_category
from queuechat.leaderboard.elo import online_elo
from queuechat.leaderboard.measures import STYLE, styles
from queuechat.leaderboard.outliers import find_outliers
from queuechat.leaderboard.results import CONFIDENCE, Effect, Flagged, Leaderboard, Standing, Styled, Table, Unrated
from queuechat.leaderboard.scale import START, UNIT, interval, ranks
from queuechat.leaderboard.style import bootstrap_style, features, fit_style
from queuechat.leaderboard.tally import Floats, Tally, Votes, tally_of, votes_of


@dataclass(frozen=True, slots=True)
class Options:
    """How to build. `anchor` is a model and the score that it shall have; `named` takes votes too whose voter knew the
    models' names."""

    rounds: int = 100
    seed: int = 0
    style_control: bool = False
    categories: Sequence[Category] = field(default=(ALL,))
    anchor: tuple[str, float] | None = None
    exclude_outliers: bool = False
    named: bool = False


def build(battles: Sequence[CleanBattle], options: Options) -> Leaderboard:
    """The leaderboard of these battles, which are in the order of the votes.

    Raises:
        InvalidRequest: the anchor is in no battle.
    """
    used, left_out = _usable(battles, named=options.named)
    if options.anchor and not any(options.anchor[0] in (one.model_a, one.model_b) for one in used):
        raise InvalidRequest(f"the anchor {options.anchor[0]!r} is in no battle that counts", param="anchor")
    flagged = find_outliers(used)
    if options.exclude_outliers:
        voters = {one.voter for one in flagged}
        used, before = [one for one in used if one.judge not in voters], len(used)
        left_out["outlier"] = before - len(used)
    return Leaderboard(
        made_at=time.time(),
        votes=len(used),
        voters=len({one.judge for one in used}),
        last_vote=max((one.tstamp for one in used), default=0.0),
        rounds=options.rounds,
        seed=options.seed,
        days=_days(used),
        tables=_tables(used, options),
        flagged=[Flagged(one.voter, one.votes, one.p) for one in flagged],
        excluded=options.exclude_outliers,
        left_out={why: count for why, count in left_out.items() if count},
        anchor=options.anchor,
    )


def _usable(battles: Iterable[CleanBattle], *, named: bool) -> tuple[list[CleanBattle], Counter[str]]:
    used, left_out = [], Counter[str]()
    for battle in battles:
        if battle.model_a == battle.model_b:
            left_out["same model"] += 1
        elif not (battle.anony or named):
            left_out["names known"] += 1
        else:
            used.append(battle)
    return used, left_out


def _days(battles: Iterable[CleanBattle]) -> list[tuple[str, int]]:
    days = Counter(datetime.fromtimestamp(one.tstamp, UTC).date().isoformat() for one in battles)
    return sorted(days.items())


def _tables(battles: Sequence[CleanBattle], options: Options) -> list[Table]:
    chosen = [(category, in_category(battles, category)) for category in options.categories]
    # A category that nobody voted in is no table; the one of all votes is there in any case.
    return [_table(category, found, options) for category, found in chosen if found or category.name == ALL.name]


def _table(category: Category, battles: Sequence[CleanBattle], options: Options) -> Table:
    title = category.title or category.name
    if not battles:
        return Table(category.name, title, 0, [], [], [])
    votes = votes_of(battles)
    tally = tally_of(votes)
    played, rng = _played(tally, votes), np.random.default_rng(options.seed)
    centre = fit(tally.points(tally.count[None]))[0]
    shift = _shift(votes.models, centre, options.anchor)
    standings = list(played.values())
    if len(members(centre)):
        samples = bootstrap(tally, centre, options.rounds, rng)
        standings = _rated(played, votes.models, centre, samples, shift or 0.0)
    styled = _styled(battles, votes, options, played, rng) if options.style_control else None
    names, met = list(votes.models), tally.meetings()
    return Table(category.name, title, len(votes), names, standings, met, shift is not None, styled)


def _played(tally: Tally, votes: Votes) -> dict[str, Standing]:
    """Every model's record, without a score; most points first."""
    counts = np.zeros((len(votes.models), 3), dtype=np.int64)
    for i, j, wins, ties, losses in tally.meetings():
        counts[i] += (wins, ties, losses)
        counts[j] += (losses, ties, wins)
    elo = online_elo(votes)
    made = [_record(name, counts[k].tolist(), float(elo[k])) for k, name in enumerate(votes.models)]
    return {one.model: one for one in sorted(made, key=lambda one: (-one.win_rate, one.model))}


def _record(name: str, counts: list[int], elo: float) -> Standing:
    (wins, ties, losses), votes = counts, sum(counts)
    why = Unrated.UNBEATEN if wins == votes else Unrated.WINLESS if losses == votes else Unrated.APART
    return Standing(name, votes, wins, ties, losses, round((wins + ties / 2) / votes, 6), round(elo, 2), unrated=why)


def _shift(models: Sequence[str], centre: Floats, anchor: tuple[str, float] | None) -> float | None:
    """Points to add so that the anchor has its score; None where it is not rated."""
    if anchor is None or anchor[0] not in models or not np.isfinite(own := centre[models.index(anchor[0])]):
        return None
    return anchor[1] - (START + UNIT * float(own))


def _rated(
    played: Mapping[str, Standing], models: Sequence[str], centre: Floats, samples: Floats, shift: float
) -> list[Standing]:
    """Rated models by their scores, then the others. [m] `centre` and [rounds, m] `samples` are strengths."""
    rated = members(centre)
    lower, upper = interval(samples[:, rated], CONFIDENCE)
    places = ranks(lower, upper)
    scores, lows, highs = (START + shift + UNIT * part for part in (centre[rated], lower, upper))
    scored = [
        replace(
            played[models[rated[k]]],
            rank=int(places[k]),
            score=_points(scores[k]),
            lower=_points(lows[k]),
            upper=_points(highs[k]),
            unrated=None,
        )
        for k in np.argsort(-scores, kind="stable")
    ]
    names = {one.model for one in scored}
    return scored + [one for one in played.values() if one.model not in names]


def _points(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _styled(
    battles: Sequence[CleanBattle],
    votes: Votes,
    options: Options,
    played: Mapping[str, Standing],
    rng: np.random.Generator,
) -> Styled | None:
    """The same for the votes whose style is known; None when no model can be rated by them."""
    known = [styles(battle) for battle in battles]
    has = np.array([pair is not None for pair in known])
    seen = Votes(votes.models, votes.a[has], votes.b[has], votes.score[has])
    if not len(seen):
        return None
    tally = tally_of(seen)
    among, kept = seen.among(members(fit(tally.points(tally.count[None]))[0]))
    if not len(among):
        return None
    pairs = [pair for pair in known if pair is not None]
    x = features([pairs[k] for k in np.flatnonzero(kept)])
    found = fit_style(among, x)
    samples = bootstrap_style(among, x, found, options.rounds, rng)
    m = len(among.models)
    shift = _shift(among.models, found[:m], options.anchor) or 0.0
    standings = _rated(played, among.models, found[:m], samples[:, :m], shift)
    return Styled(len(among), standings, _effects(found[m:], samples[:, m:]))


def _effects(found: Floats, samples: Floats) -> list[Effect]:
    odds = np.exp([found, *interval(samples, CONFIDENCE)]).round(4)
    return [Effect(name, *odds[:, k].tolist()) for k, name in enumerate(STYLE)]
