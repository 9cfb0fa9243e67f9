"""Where Gradio puts what is uploaded: a folder of this process alone, gone when it ends.

Gradio names a file by what is in it, so the same file of two people is one path. It stays until both have asked.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

STALE_S = 1800  #: after which a file that was uploaded and never sent is deleted
_LEAST = 64 << 10  # bytes that a file counts as: small ones are bounded by their number


@functools.cache
def private_folder() -> Path:
    """The folder, readable by nobody else. Gradio finds it in its variable, whenever it looks for it."""
    folder = Path(tempfile.mkdtemp(prefix="queuechat-ui-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


class Uploads:
    """Who has uploaded which file, how often, and has not asked about it yet. Paths and people; files are on disk."""

    def __init__(self) -> None:
        self._claims: dict[Path, Counter[str]] = {}
        self._sizes: dict[Path, int] = {}
        self._seen: dict[Path, float] = {}  # when each was last uploaded

    def claim(self, person: str, paths: Iterable[Path]) -> None:
        """They have uploaded these."""
        self._forget_stale()
        for path in paths:
            self._claims.setdefault(path, Counter())[person] += 1
            self._sizes[path] = max(_LEAST, path.stat().st_size) if path.exists() else _LEAST
            self._seen[path] = time.monotonic()

    def held(self, person: str) -> int:
        """Bytes of the files that they have uploaded and not asked about, as often as they have."""
        self._forget_stale()
        return sum(claims[person] * self._sizes[path] for path, claims in self._claims.items())

    @property
    def total(self) -> int:
        """Bytes of all files that nobody has asked about yet."""
        return sum(self._sizes.values())

    def discard(self, person: str, paths: Iterable[Path]) -> None:
        """They have asked about these: delete what nobody else is about to ask about."""
        for path, times in Counter(paths).items():
            claims = self._claims.get(path, Counter())
            claims[person] = max(0, claims[person] - times)
            if not +claims:
                self._forget(path)
                _delete(path)

    def _forget_stale(self) -> None:
        # Gradio deletes them: it goes by the time of the last upload too.
        since = time.monotonic() - STALE_S
        for path in [path for path, seen in self._seen.items() if seen < since]:
            self._forget(path)

    def _forget(self, path: Path) -> None:
        self._claims.pop(path, None)
        self._sizes.pop(path, None)
        self._seen.pop(path, None)


def _delete(path: Path) -> None:
    """Each lies in a folder of its own, or with others of the same content."""
    if path.is_relative_to(private_folder()):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()
