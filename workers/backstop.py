"""What Redis says that this worker owns, against what it holds.

A grant may be lost after it was counted as heard, and a failover may lose an end. Then a job has an owner that renews
it and does not run it. Two renewals find it, each looked at when a claim was answered: what the first one names may
still be on its way here, but the claim that follows brings it. So what both name and was here neither time is lost.
"""

from __future__ import annotations

from collections.abc import Collection


class Backstop:
    """For one consumer."""

    def __init__(self) -> None:
        self._owned: frozenset[str] | None = None  # by a renewal that nobody has looked at
        self._missing: frozenset[str] = frozenset()

    def renewed(self, owned: Collection[str]) -> None:
        """Redis has renewed these jobs for us."""
        self._owned = frozenset(owned)

    def lost(self, here: Collection[str]) -> frozenset[str]:
        """What must be given back. To be asked when a claim was answered and all that it brought is `here`."""
        if self._owned is None:
            return frozenset()
        missing, self._owned = self._owned.difference(here), None
        before, self._missing = self._missing, missing
        return missing & before
