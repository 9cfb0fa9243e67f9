"""An engine's threads wait as we think best, unless somebody has chosen."""

from __future__ import annotations

import pytest

from workers.waiting import waiting


def test_threads_spin_a_little_and_then_sleep() -> None:
    assert waiting({"PATH": "/bin"}) == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}


def test_those_that_python_keeps_waiting_spin_longer() -> None:
    assert int(waiting({}, "transformers")["GOMP_SPINCOUNT"]) > int(waiting({}, "llamacpp")["GOMP_SPINCOUNT"])


@pytest.mark.parametrize("chosen", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_who_has_chosen_how_they_wait_is_left_alone(chosen: str) -> None:
    assert waiting({chosen: "1"}) == {}
