"""Running machines: how many examples, and what comes of it."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.ground import Ground
from tests.machine.machine import Machine


def run_machine(
    kind: type[Machine],
    ground: Ground,
    *,
    examples: int,
    steps: int,
    number: int | None = None,
    shrink: bool = True,
) -> None:
    """Raises what the smallest (or, without `shrink`, the first) failing example raises.

    `number` is a seed; without one every run is the same.
    """
    machine = type(kind.__name__, (kind,), {"ground": ground})
    if number is not None:
        machine = seed(number)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=number is None,
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.normal if shrink else Verbosity.quiet,
        ),
    )
