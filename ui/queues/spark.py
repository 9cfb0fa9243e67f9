"""A line of the last minutes as SVG: numbers in, no text but its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

_WIDTH, _HEIGHT = 200, 40


def spark(values: Sequence[float | None], name: str) -> str:
    """The values from left to right, zero at the bottom; where one is None the line has a gap."""
    top = max([1.0, *(value for value in values if value is not None)])
    runs = [[_point(at, value, len(values), top) for at, value in run] for run in _runs(values)]
    lines = "".join(f'<path class="line" d="M{" L".join(run if len(run) > 1 else run * 2)}"/>' for run in runs)
    areas = "".join(
        f'<path class="area" d="M{_x(run[0])},{_HEIGHT} L{" L".join(run)} L{_x(run[-1])},{_HEIGHT}Z"/>' for run in runs
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(name)}, the last minutes">{areas}{lines}</svg>'
    )


def _runs(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    for known, group in groupby(enumerate(values), key=lambda pair: pair[1] is not None):
        if known:
            yield [(at, value) for at, value in group if value is not None]


def _point(at: int, value: float, count: int, top: float) -> str:
    x = at * _WIDTH / max(count - 1, 1)
    y = _HEIGHT - 1.5 - value / top * (_HEIGHT - 4)
    return f"{x:.1f},{y:.1f}"


def _x(point: str) -> str:
    return point.partition(",")[0]
