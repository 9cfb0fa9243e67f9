"""No point is forgotten."""

from __future__ import annotations

from queuechat.failpoints import POINTS
from tests.failpoints.cases import API, BACKGROUND, CHILD, SUPERVISOR


def test_every_point_is_tested() -> None:
    cases = (*CHILD, *SUPERVISOR, *API, *BACKGROUND)
    assert sorted(case.point for case in cases) == sorted(POINTS)
