"""The secret of an installation: what it makes of addresses, names and logins cannot be made, or undone, without it.

It lies in Redis, so that all processes of the page have the same and a restart forgets nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from queuechat import keys
from queuechat.bus import Bus


class Seal:
    """Keyed digests; each `purpose` has a key of its own."""

    def __init__(self, secret: bytes):
        self._secret = secret

    def digest(self, purpose: str, text: str) -> str:
        """64 hexadecimal digits."""
        key = hmac.digest(self._secret, purpose.encode(), hashlib.sha256)
        return hmac.new(key, text.encode(errors="replace"), hashlib.sha256).hexdigest()

    def matches(self, digest: str, purpose: str, text: str) -> bool:
        """Whether that is the digest; how long it takes tells nothing."""
        return hmac.compare_digest(self.digest(purpose, text).encode(), digest.encode(errors="replace"))


async def open_seal(bus: Bus) -> Seal:
    """The installation's own; who comes first makes it.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    fresh = secrets.token_hex(32)
    found = await bus.connection.insist([("SET", keys.PAGE_SECRET, fresh, "NX"), ("GET", keys.PAGE_SECRET)])
    return Seal(found[1])
