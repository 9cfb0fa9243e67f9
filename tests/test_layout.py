"""The short names `api`, `workers` and `ui` are ours: another package that ships one would shadow it unnoticed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = ["queuechat", "api", "workers", "ui", "tests"]


@pytest.mark.parametrize("name", NAMES)
def test_a_top_level_package_comes_from_this_checkout(name: str) -> None:
    module = importlib.import_module(name)
    assert Path(str(module.__file__)).parent == ROOT / name


OURS = sorted(path for name in NAMES for path in (ROOT / name).rglob("*.py"))


def test_no_file_is_named_after_nothing() -> None:
    assert [path for path in OURS if path.stem in {"utils", "common", "helpers"}] == []


def test_every_module_says_what_it_is_for_and_stays_short() -> None:
    modules = [path for path in OURS if ROOT / "tests" not in path.parents]
    assert [path for path in modules if not path.read_text().startswith('"""')] == []
    assert [path for path in modules if len(path.read_text().splitlines()) > 300] == []
