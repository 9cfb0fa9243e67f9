"""Who votes against everybody is found; who votes as people do is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from queuechat.leaderboard.battles import CleanBattle, Winner
from queuechat.leaderboard.outliers import find_outliers
from tests.leaderboard.synthetic import battles_of, spread, votes_between

_TURNED = {Winner.A: Winner.B, Winner.B: Winner.A}


def a_crowd(seed: int, voters: int, each: int, ties: float = 0.2) -> list[CleanBattle]:
    votes = votes_between(spread(5, 500), voters * each, np.random.default_rng(seed), ties)
    return battles_of(votes, [f"voter-{k}" for k in range(voters)])


def with_liar(battles: list[CleanBattle], judge: str) -> list[CleanBattle]:
    return [replace(one, winner=_TURNED.get(one.winner, one.winner)) if one.judge == judge else one for one in battles]


def test_a_voter_who_turns_every_vote_around_is_flagged_and_nobody_else() -> None:
    found = find_outliers(with_liar(a_crowd(1, 50, 40), "voter-7"))
    assert [one.voter for one in found] == ["voter-7"]
    assert found[0].votes == 40
    assert found[0].p < 0.05 / 50


def test_a_voter_who_pushes_a_weak_model_is_flagged_whichever_side_it_is_on() -> None:
    crowd = a_crowd(2, 50, 40)
    pushed = [
        replace(one, winner=Winner.A if one.model_a == "m00" else Winner.B)
        if one.judge == "voter-3" and "m00" in (one.model_a, one.model_b)
        else one
        for one in crowd
    ]
    assert [one.voter for one in find_outliers(pushed)] == ["voter-3"]


def test_honest_voters_are_flagged_in_at_most_one_crowd_in_twenty() -> None:
    # The chance that any of 30 honest voters is flagged is below 5 %: more than 12 of 100 crowds come once in 700.
    crowds = [find_outliers(a_crowd(seed, 30, 12, ties=0.1)) for seed in range(100)]
    assert sum(bool(flagged) for flagged in crowds) <= 12


def test_nobody_is_flagged_where_there_are_no_others_to_compare_with() -> None:
    alone = battles_of(votes_between(spread(3), 200, np.random.default_rng(4)))
    assert find_outliers(alone) == []


def test_few_votes_are_no_evidence() -> None:
    crowd = a_crowd(5, 40, 40)
    liar = [one for one in with_liar(crowd, "voter-0") if one.judge == "voter-0"][:4]
    assert find_outliers([one for one in crowd if one.judge != "voter-0"] + liar) == []


def test_names_and_sides_of_models_do_not_matter() -> None:
    crowd = with_liar(a_crowd(6, 20, 30), "voter-2")
    names = {f"m{k:02}": f"m{9 - k:02}" for k in range(10)}
    renamed = [
        replace(one, model_a=names[one.model_b], model_b=names[one.model_a], winner=_TURNED.get(one.winner, one.winner))
        for one in crowd
    ]
    one, other = find_outliers(crowd), find_outliers(renamed)
    assert [(found.voter, round(found.p, 9)) for found in one] == [(found.voter, round(found.p, 9)) for found in other]
