"""Voters without their names."""

from __future__ import annotations

import hashlib
import hmac
import secrets


class Pseudonyms:
    """The same voter has the same pseudonym as long as the salt is the same. A salt that nobody keeps is the default:
    then nobody can ever tell who a pseudonym was, not by trying all addresses there are either."""

    def __init__(self, salt: bytes | None = None):
        self._salt = salt or secrets.token_bytes(32)

    def of(self, voter: str) -> str:
        """16 hexadecimal digits."""
        return hmac.new(self._salt, voter.encode(), hashlib.sha256).hexdigest()[:16]
