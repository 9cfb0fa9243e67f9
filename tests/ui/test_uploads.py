"""Uploaded files: where they are, and that they go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ui.uploads import discard, private_folder


def test_uploads_lie_where_nobody_else_can_read() -> None:
    folder = private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)


def test_what_was_used_is_deleted_with_its_folder_and_nothing_else_is(tmp_path: Path) -> None:
    own, other = private_folder() / "abc" / "notes.md", tmp_path / "notes.md"
    for file in (own, other):
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    discard([own, own, other])
    assert not own.parent.exists()
    assert other.exists()
