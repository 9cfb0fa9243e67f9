"""Which process fails where, at which visit and how, and which of these cases the default run is made of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

_SEED = 8


@dataclass(frozen=True, slots=True)
class Case:
    """The process fails at its `nth` visit of `point` (of those whose detail holds `text`). `by` is what brings it
    there, when jobs alone do not; `idle` says that no job need be under way then."""

    point: str
    nth: int = 1
    by: str = ""
    action: str = "kill"
    text: str = ""
    idle: bool = False

    @property
    def entry(self) -> str:
        """As QUEUECHAT_FAILPOINT has it."""
        return f"{self.point}{self.text and '~'}{self.text}:{self.nth}:{self.action}"

    def acting(self, action: str) -> Case:
        return replace(self, action=action)


CHILD = (
    Case("claim.before", 4, idle=True),
    Case("claim.after", 2),
    Case("log.before", by="takeover"),
    Case("admit.before", 3),
    Case("admit.after", 3),
    Case("step.after", 40),
    Case("publish.before", 20),
    Case("publish.after", 20),
    Case("finish.before", 2),
    Case("finish.after", 2, idle=True),
    Case("drain.child", by="drain"),
)
# A beat is a second, and a worker must have jobs when it fails: it loads within the first beats.
SUPERVISOR = (
    Case("spawn.after", 2, by="death"),
    Case("renew.before", 5, idle=True),
    Case("renew.after", 5, idle=True),
    Case("announce.before", 5, idle=True),
    Case("announce.after", 5, idle=True),
    Case("watchdog.before", 3, text="ready", idle=True),
    Case("release.before", by="death"),
    Case("release.after", by="death"),
    Case("drain.supervisor", by="drain"),
    Case("goodbye.before", by="drain", idle=True),
)
API = (
    Case("body.after", 2),
    Case("enqueue.before", 2),
    Case("enqueue.after", 2),
    Case("subscribe.after", 2),
    Case("fill.before", by="resume"),
    Case("fill.after", by="resume"),
    Case("write.before", 30),
    Case("write.after", 30),
    Case("watch.before"),
    Case("watch.after"),
    Case("gone.before", by="leaving"),
    Case("drain.api", by="drain"),
)
BACKGROUND = (Case("record.before"), Case("record.after"))


_SAMPLED = {
    case.point
    for cases, number in ((CHILD, 4), (SUPERVISOR, 1), (API, 3))
    for case in random.Random(_SEED).sample(cases, number)
}


def params(cases: Sequence[Case]) -> list[Any]:
    """What parametrizes a test. Only kills at sampled points belong to the default run."""
    return [pytest.param(case, id=f"{case.point}-{case.action}", marks=_marks(case)) for case in cases]


def _marks(case: Case) -> list[pytest.MarkDecorator]:
    return [] if case.action == "kill" and case.point in _SAMPLED else [pytest.mark.long]


def find(point: str) -> Case:
    return next(case for case in (*CHILD, *SUPERVISOR, *API, *BACKGROUND) if case.point == point)
