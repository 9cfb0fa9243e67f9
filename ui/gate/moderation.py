"""Whether what is asked may be asked: a moderator judges each message once, and what it lets pass is remembered.

Moderators: `endpoint` (an OpenAI-compatible service) and `guard` (a guard model that a worker of ours serves).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from queuechat.errors import BusUnavailable
from ui.gate.passages import Passage
from ui.gate.refusals import ContentFlagged, ModerationUnavailable

log = logging.getLogger(__name__)

_REMEMBERED = 50_000


class Moderator(Protocol):
    """Who judges."""

    async def judge(self, passages: Sequence[Passage]) -> set[str]:
        """The categories that any of these is flagged for; none when all are fine.

        Raises:
            ModerationUnavailable: there is no verdict; the message says why, and tells nothing of what was asked.
        """

    async def close(self) -> None: ...


class Moderation:
    """A moderator with patience, a memory, and a rule for when it does not answer."""

    def __init__(self, moderator: Moderator, *, patience_s: float, closed: bool = True):
        """`closed` refuses what could not be judged; otherwise it is let in."""
        self._moderator = moderator
        self._patience_s = patience_s
        self._closed = closed
        self._passed: OrderedDict[bytes, None] = OrderedDict()

    async def check(self, said: Sequence[Passage], person: str) -> None:
        """Judge what of a conversation has not been judged before: a browser brings the whole of it each time, and
        could have changed any of it.

        Raises:
            ContentFlagged: it must not be sent.
            ModerationUnavailable: it could not be judged, and the rule is to refuse then.
        """
        new = [passage for passage in said if passage.digest not in self._passed]
        if not new:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                categories = await self._moderator.judge(new)
        except (TimeoutError, ModerationUnavailable, BusUnavailable) as error:
            self._unjudged(str(error) or f"nothing came within {self._patience_s:g} s")
            return
        if categories:
            log.warning("moderation flagged what %s asked: %s", person or "a stranger", ", ".join(sorted(categories)))
            raise ContentFlagged("moderation has flagged this conversation", param="messages")
        self._remember(new)

    def _unjudged(self, why: str) -> None:
        log.warning("moderation does not answer, so a question is %s: %s", "refused" if self._closed else "let in", why)
        if self._closed:
            raise ModerationUnavailable(
                "what is asked here is checked first, which is not possible now", retry_after=30
            )

    def _remember(self, passages: Sequence[Passage]) -> None:
        for passage in passages:
            self._passed[passage.digest] = None
        while len(self._passed) > _REMEMBERED:
            self._passed.popitem(last=False)

    async def close(self) -> None:
        await self._moderator.close()
