"""What this page needs otherwise than Gradio has it."""

from __future__ import annotations

from typing import Any

from gradio import processing_utils, utils

_diff = utils.diff


def patch() -> None:
    """Apply them all, once or more often: before a page is built."""
    processing_utils.async_ssrf_protected_download = _refused
    utils.diff = whole_where_something_goes


async def _refused(url: str, cache_dir: str) -> str:
    """Gradio fetches a file that an input names by an address, before any handler is asked: nobody has this server ask
    another."""
    raise ValueError("files are attached, not fetched")


def whole_where_something_goes(old: object, new: object) -> list[list[Any]]:
    """The edits that make `new` of `old`, each a kind, a path and a value; the whole of it where a key would go.

    Gradio sends edits of an output's last update, and its page carries them out on the very object that may still wait
    to be drawn. Where updates come close together, one that leaves an output as it is would take the value out of the
    one before: an answer's last words were never shown, nor kept.
    """
    edits: list[list[Any]] = _diff(old, new)
    return [["replace", [], new]] if any(kind == "delete" for kind, *_ in edits) else edits
