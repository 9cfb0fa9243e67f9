"""When requests are due in an open loop."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from queuechat.bench.arrivals import offsets


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 8.0])
def test_the_rate_is_the_one_asked_for_and_the_gaps_vary_as_gamma_does(burstiness: float) -> None:
    due = offsets(4001, 50.0, burstiness, seed=1)
    gaps = [after - before for before, after in pairwise(due)]
    assert due[0] == 0
    assert due[-1] == pytest.approx(4000 / 50)
    assert min(gaps) >= 0
    # The deviation of a gamma distribution by its mean is 1 / sqrt(shape); of a Poisson process 1.
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(burstiness**-0.5, rel=0.15)


def test_a_seed_decides_the_moments() -> None:
    assert offsets(100, 5, 1, seed=7) == offsets(100, 5, 1, seed=7)
    assert offsets(100, 5, 1, seed=7) != offsets(100, 5, 1, seed=8)


def test_a_single_request_is_due_at_once() -> None:
    assert offsets(1, 0.1, 1, seed=0) == [0.0]
