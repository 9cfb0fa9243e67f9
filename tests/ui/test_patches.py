"""Updates that come close together do not undo each other in the page."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from ui.patches import whole_where_something_goes

SKIP = {"__type__": "update"}
BUSY = {"value": [{"text": "Thin"}], "elem_classes": ["busy"], "__type__": "update"}
SAID = {"value": [{"text": "Thinking"}], "elem_classes": ["busy"], "__type__": "update"}
REST = {"value": [{"text": "Yes."}, {"text": "No."}], "elem_classes": [], "__type__": "update"}


def carried_out(target: Any, edits: list[list[Any]]) -> Any:
    """As Gradio's page does it: on the object itself, unless the whole is replaced."""
    for kind, path, value in edits:
        if not path:
            assert kind in ("replace", "append")
            target = value if kind == "replace" else target + value
            continue
        inner = target
        for step in path[:-1]:
            inner = inner[step]
        if kind == "append":
            inner[path[-1]] += value
        elif kind == "add" and isinstance(inner, list):
            inner.insert(path[-1], value)
        else:
            assert kind in ("add", "replace")
            inner[path[-1]] = value
    return target


@pytest.mark.parametrize(
    ("old", "new"),
    [(BUSY, SKIP), (SKIP, REST), (BUSY, SAID), (SAID, REST), (REST, BUSY), (["a", "b"], ["a"]), ("a", "ab"), (1, None)],
)
def test_an_update_that_is_not_drawn_yet_loses_nothing_to_the_next(old: Any, new: Any) -> None:
    waiting = deepcopy(old)
    drawn = carried_out(waiting, whole_where_something_goes(old, new))
    assert drawn == new
    if isinstance(old, dict):
        assert old.keys() <= waiting.keys()


def test_of_an_answer_that_grows_only_what_is_new_is_sent() -> None:
    assert whole_where_something_goes(BUSY, SAID) == [["append", ["value", 0, "text"], "king"]]
