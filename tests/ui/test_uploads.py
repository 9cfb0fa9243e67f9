"""Uploaded files: where they are, and that they go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ui.uploads import Uploads, private_folder


def test_uploads_lie_where_nobody_else_can_read() -> None:
    folder = private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)


def uploaded(name: str) -> Path:
    file = private_folder() / name / "notes.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text("x")
    return file


def test_what_was_used_is_deleted_with_its_folder_and_nothing_else_is(tmp_path: Path) -> None:
    own, other = uploaded("abc"), tmp_path / "notes.md"
    other.write_text("x")
    Uploads().discard("ann", [own, own, other])
    assert not own.parent.exists()
    assert other.exists()


def test_a_file_of_two_people_stays_until_both_have_asked_however_often_one_of_them_does() -> None:
    file, uploads = uploaded("shared"), Uploads()
    for person in ("ann", "bob", "bob"):
        uploads.claim(person, [file])
    for person in ("ann", "ann", "bob"):
        uploads.discard(person, [file])
        assert file.exists()
    assert uploads.held("ann") == 0  # to ask too often is no credit for later
    uploads.discard("bob", [file])
    assert not file.exists()


def test_files_count_until_they_are_asked_about_or_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    file, uploads = uploaded("counted"), Uploads()
    file.write_bytes(b"x" * 100_000)
    uploads.claim("ann", [file, file])
    assert (uploads.held("ann"), uploads.held("bob"), uploads.total) == (200_000, 0, 100_000)
    monkeypatch.setattr("ui.uploads.STALE_S", -1)
    assert (uploads.held("ann"), uploads.total) == (0, 0)
