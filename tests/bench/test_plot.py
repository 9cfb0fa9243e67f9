"""Pictures of runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from queuechat.bench.plot import draw
from queuechat.cli.bench.options import need_extra
from queuechat.errors import Misconfigured
from tests.bench.readings import a_failure, a_reading, a_run


def test_a_run_of_which_nothing_came_is_drawn_too(tmp_path: Path) -> None:
    for readings in ([a_failure(0, "HTTP 500")], [a_reading(0, [0.1]), a_failure(0, "HTTP 500")]):
        draw(a_run(readings, 1.0), tmp_path / "run.png", "m")
        assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot write the plot"):
        draw(a_run([a_reading(0, [0.1])], 1.0), tmp_path / "run.doc", "m")


NEEDS_EXTRA = r"pip install 'queuechat\[bench\]'"


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(Misconfigured, match=NEEDS_EXTRA):
        draw(a_run([a_reading(0, [0.1])], 1.0), tmp_path / "run.png", "m")


@pytest.mark.parametrize("package", ["httptools", "psutil"])
def test_a_bench_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Misconfigured, match=NEEDS_EXTRA):
        need_extra()
