"""Several servers asked the same in turn, so that a machine's mood is shared out among them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from queuechat.bench.metrics import Figures

#: What is compared: a name, and how to read it.
COMPARED: tuple[tuple[str, Callable[[Figures], float]], ...] = (
    ("request_throughput", lambda one: one.request_throughput),
    ("output_throughput", lambda one: one.output_throughput),
    ("tokens_per_chunk", lambda one: one.tokens_per_chunk),
    ("median_ttft_ms", lambda one: one.spreads["ttft"].median),
    ("p99_ttft_ms", lambda one: one.spreads["ttft"].p99),
    ("median_tpot_ms", lambda one: one.spreads["tpot"].median),
    ("p99_itl_ms", lambda one: one.spreads["itl"].p99),
    ("median_e2el_ms", lambda one: one.spreads["e2el"].median),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of each round, by server in the order that they were named."""

    rounds: Mapping[str, Sequence[Figures]]

    def medians(self) -> dict[str, dict[str, float]]:
        return {
            name: {measure: median(read(one) for one in rounds) for measure, read in COMPARED}
            for name, rounds in self.rounds.items()
        }

    def ratios(self) -> dict[str, dict[str, float | None]]:
        """Each median by that of the first server; None where that is 0."""
        medians = self.medians()
        first = next(iter(medians.values()))
        return {
            name: {measure: value / first[measure] if first[measure] else None for measure, value in row.items()}
            for name, row in medians.items()
        }

    @property
    def failed(self) -> int:
        return sum(one.failed for rounds in self.rounds.values() for one in rounds)

    def document(self) -> dict[str, Any]:
        rounds = {
            name: [
                {measure: read(one) for measure, read in COMPARED} | {"failed": one.failed, "errors": one.errors}
                for one in figures
            ]
            for name, figures in self.rounds.items()
        }
        return {"medians": self.medians(), "ratios": self.ratios(), "rounds": rounds}


async def compare(names: Sequence[str], rounds: int, drive: Callable[[str, int], Awaitable[Figures]]) -> Comparison:
    """Drive each in turn, round after round, in reverse order every other round: none always follows the same one."""
    collected: dict[str, list[Figures]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            collected[name].append(await drive(name, number))
    return Comparison(collected)
