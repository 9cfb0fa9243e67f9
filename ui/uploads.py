"""Where Gradio puts what is uploaded: a folder of this process alone, gone when it ends."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

STALE_S = 1800  #: after which a file that was uploaded and never sent is deleted


@functools.cache
def private_folder() -> Path:
    """The folder, readable by nobody else. Gradio finds it in its variable, whenever it looks for it."""
    folder = Path(tempfile.mkdtemp(prefix="queuechat-ui-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def discard(paths: Iterable[Path]) -> None:
    """Delete uploaded files. Each lies in a folder of its own, or with others of the same content."""
    for path in paths:
        if path.is_relative_to(private_folder()):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                path.parent.rmdir()
