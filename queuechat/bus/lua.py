"""Our Redis functions as one library: the parts of queuechat/functions in the order in which they use each other."""

from __future__ import annotations

import hashlib
from importlib.resources import files

PARTS = (
    *("legend", "room", "ending", "standing", "claim", "enqueue", "publish", "lease", "watch", "letters", "audit"),
    *("allowance", "rates", "batches", "responses", "battles"),
)

# No writes: Redis answers it also when it takes none, or a server that is starved of memory could not be joined.
_VERSION = """
redis.register_function {{
  function_name = 'qc1_version', callback = function() return '{version}' end, flags = {{ 'no-writes' }}
}}
"""


def library() -> tuple[str, int, str]:
    """The library with a `qc1_version` function that answers "<revision>:<hash>", its revision and its hash."""
    folder = files("queuechat") / "functions"
    text = "\n".join((folder / f"{part}.lua").read_text() for part in PARTS)
    sha = hashlib.sha256(text.encode()).hexdigest()[:16]
    revision = int(text.partition("local REVISION = ")[2].split()[0])
    return text + _VERSION.format(version=f"{revision}:{sha}"), revision, sha
