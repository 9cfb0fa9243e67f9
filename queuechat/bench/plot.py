"""A run as a picture: how latencies are spread, and what came through over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from queuechat.bench.driving import Run, in_flight
from queuechat.bench.metrics import Measure, throughput, values
from queuechat.errors import Misconfigured

_CURVES: tuple[tuple[Measure, str], ...] = (
    ("ttft", "time to first token"),
    ("itl", "gap between chunks"),
    ("e2el", "end to end"),
)


def draw(run: Run, file: Path, title: str) -> None:
    """Write the picture, in the format of the file's ending.

    Raises:
        Misconfigured: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Misconfigured("plots need matplotlib: pip install 'queuechat[bench]'") from None
    figure = Figure(figsize=(12, 7), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 3)
    for axis, (measure, name) in zip(axes[0], _CURVES, strict=True):
        _distribution(axis, values(run.good, measure), name)
    grid = axes[1, 0].get_gridspec()
    for axis in axes[1]:
        axis.remove()
    _over_time(figure.add_subplot(grid[1, :]), run)
    try:
        figure.savefig(file, dpi=120)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"cannot write the plot {file}: {error}") from None


def _distribution(axis: Any, seconds: Sequence[float], name: str) -> None:
    ordered = sorted(1000 * value for value in seconds)
    axis.step(ordered, [(place + 1) / len(ordered) for place in range(len(ordered))], where="post")
    axis.set(title=name, xlabel="ms", ylabel="share of them", ylim=(0, 1.02))
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)


def _over_time(axis: Any, run: Run) -> None:
    rows = throughput(run)
    axis.step([start for start, _ in rows], [tokens for _, tokens in rows], where="post", label="tokens a second")
    axis.set(xlabel="seconds", ylabel="tokens a second", ylim=(0, None))
    beside = axis.twinx()
    moments = [(moment - run.started, running) for moment, running in in_flight(run.readings)]
    beside.step(*zip(*moments, strict=True), where="post", color="tab:orange", alpha=0.6, label="requests under way")
    beside.set(ylabel="requests under way", ylim=(0, None))
    lines = [*axis.get_lines(), *beside.get_lines()]
    axis.legend(lines, [line.get_label() for line in lines], loc="lower right")
    axis.grid(alpha=0.3)
