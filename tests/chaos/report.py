"""The figures of a run, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.chaos.history import History


@dataclass(frozen=True)
class Pauses:
    """How much longer than usual the next token took, in seconds, over the streams that were struck."""

    streams: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Pauses:
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 3)

        return cls(len(ordered), at(0.5), at(0.99), at(1.0))


@dataclass(frozen=True)
class Report:
    """What was done in a run, and what came of it."""

    case: str
    seed: int
    seconds: float
    streams: int
    strikes: dict[str, int]
    requests: int
    answered: int
    tokens: int
    askers: dict[str, int]
    tries: dict[str, int]
    pauses: dict[str, Pauses]

    @classmethod
    def of(cls, case: str, seed: int, seconds: float, history: History, strikes: Counter[str], streams: int) -> Report:
        return cls(
            case=case,
            seed=seed,
            seconds=round(seconds, 1),
            streams=streams,
            strikes=dict(strikes.most_common()),
            requests=history.by.total(),
            answered=history.answered,
            tokens=history.tokens,
            askers=dict(history.by),
            tries={why: n for why, n in history.tries.most_common() if n},
            pauses={kind: Pauses.of(seconds) for kind, seconds in history.pauses.items()},
        )

    def figures(self, faults: Sequence[str]) -> dict[str, Any]:
        return {**asdict(self), "faults": list(faults)}

    def table(self, faults: Sequence[str]) -> str:
        rows = [
            ("case", f"{self.case}, seed {self.seed}, {self.seconds:.0f} s, {self.streams} streams at a time"),
            ("requests", f"{self.requests} ({_list(self.askers)})"),
            ("answered whole", f"{self.answered}, {self.tokens} tokens"),
            ("faults", f"{sum(self.strikes.values())} ({_list(self.strikes)})"),
            ("asked again", _list(self.tries) or "never"),
            *((f"pause, {kind}", _pauses(p)) for kind, p in self.pauses.items()),
            ("wrong", f"{len(faults)}" if faults else "nothing"),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _pauses(p: Pauses) -> str:
    return f"p50 {p.p50:.2f} s, p99 {p.p99:.2f} s, longest {p.longest:.2f} s, over {p.streams} streams"
