"""The gate that every question passes, whichever tab or program brings it, before it becomes a job."""

from __future__ import annotations

from queuechat.errors import PermissionDenied
from queuechat.protocol import Job
from queuechat.rates import Rates
from ui.gate.limits import Limits
from ui.gate.moderation import Moderation
from ui.gate.passages import passages_of
from ui.gate.people import Visit
from ui.gate.refusals import TermsNotAccepted
from ui.gate.terms import Terms


class Gate:
    """One per process; without arguments it lets everything in."""

    def __init__(
        self,
        rates: Rates | None = None,
        *,
        rpm: int = 0,
        limits: Limits | None = None,
        terms: Terms | None = None,
        moderation: Moderation | None = None,
        known: bool = False,
    ):
        """`rpm` is how many questions a minute one person may ask (0: any number); with `known`, only people whom a
        door has let in may ask."""
        self._rates, self._rpm = rates, rpm
        self._limits = limits or Limits()
        self._terms = terms
        self._moderation = moderation
        self._known = known or bool(rpm or terms)

    def greet(self, visit: Visit) -> None:
        """Look at who comes, before any work is done for them. Whoever is not let in here is not admitted either.

        Raises:
            PermissionDenied: nobody knows who asks.
            TermsNotAccepted: the terms of use come first.
        """
        if self._known and not visit.person:
            raise PermissionDenied("nobody knows who asks: reload the page")
        if self._terms and visit.terms != self._terms.hash:
            raise TermsNotAccepted("accept the terms of use before you ask")

    async def admit(self, visit: Visit, job: Job) -> None:
        """Let a question in, with all that a model would read of it.

        Raises:
            InvalidRequest: it is over a limit.
            PermissionDenied: nobody knows who asks.
            TermsNotAccepted: the terms of use come first.
            RateLimited: not so many a minute; `retry_after` says when again.
            ContentFlagged: moderation will not have it.
            ModerationUnavailable: it could not be judged, and must be.
            BusUnavailable: Redis does not answer.
        """
        self.greet(visit)
        said = passages_of(job)
        self._limits.check(said)
        await self._count(visit)
        if self._moderation:
            async with visit.turn:  # the sides of a battle: what is judged for one is known for the other
                await self._moderation.check(said, visit.person)

    async def hear(self, visit: Visit) -> None:
        """Let in what somebody thinks of an answer; it counts as a question.

        Raises:
            PermissionDenied, TermsNotAccepted, RateLimited, BusUnavailable: as `admit` does.
        """
        self.greet(visit)
        await self._count(visit)

    async def _count(self, visit: Visit) -> None:
        if self._rates and visit.person:
            await self._rates.ask(visit.person, visit.id, self._rpm)

    async def close(self) -> None:
        if self._moderation:
            await self._moderation.close()
