"""The model test of the protocol, and whether it would notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine.ground import Ground
from tests.machine.machine import Machine, RestartingMachine
from tests.machine.mutations import ALWAYS, MUTATIONS, caught_by, mutated
from tests.machine.run import run_machine

#: What must have come up for a run to have said anything.
REACHED = {
    *("enqueue OK", "enqueue DUP", "enqueue MISMATCH", "enqueue FULL", "claim GO", "claim HELD", "claim let go"),
    *("claim granted a suspect", "claim granted a job again", "claim ended dead lapsed", "claim ended cancelled free"),
    *("claim STANDS", "claim told again", "grant heard", "grant lost", "grant to one of several"),
    *("publish OK", "publish DUP", "publish GAP", "publish FENCED", "publish DIVERGED", "publish CANCEL"),
    *("publish DEADLINE", "finish OK", "finish ALREADY", "finish FENCED", "finish GAP", "renew OK", "renew CANCEL"),
    *("release 0 some", "release 2 some dead", "expire some", "redrive waiting", "drop dead"),
    *("cancel OK", "cancel ALREADY", "cancel MISSING", "watch running", "watch waiting", "readers read to the end"),
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    opened = Ground(tmp_path_factory.mktemp("machine"))
    yield opened
    opened.close()


def test_redis_holds_what_the_model_says_whatever_happens_in_whatever_order(ground: Ground) -> None:
    ground.seen.clear()
    for number in range(6):  # two are enough, as a rule
        run_machine(Machine, ground, examples=15, steps=40, number=number, shrink=False)
        if set(ground.seen) >= REACHED:
            break
    assert set(ground.seen) >= REACHED, f"never came up: {REACHED - set(ground.seen)}"


def test_redis_holds_what_the_model_says_though_it_is_killed(ground: Ground) -> None:
    ground.seen.clear()
    run_machine(RestartingMachine, ground, examples=10, steps=30, shrink=False)
    assert ground.seen["redis restarted"]


@pytest.mark.parametrize("name", ALWAYS)
def test_the_machine_notices_when_the_functions_lack_a_guard(ground: Ground, name: str) -> None:
    (mutation,) = (mutation for mutation in MUTATIONS if mutation.name == name)
    assert caught_by(mutation, ground)


def test_every_mutation_still_applies_to_the_functions() -> None:
    assert all(mutated(mutation) for mutation in MUTATIONS)
