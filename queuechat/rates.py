"""How many requests and tokens a minute one API key may have, over all servers; how many questions one person.

A request pays ahead for its prompt (estimated) and all that it may write; at its end it gets back, or still owes, the
difference. The buckets in Redis fill by themselves: a server that dies with its requests takes nothing along.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from queuechat import keys
from queuechat.bus import Bus
from queuechat.credentials import Bearer
from queuechat.errors import QueuechatError, RateLimited

_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Standing:
    """What a key may have a minute, what it has left now, and ms until it has all of it again."""

    limit: int
    left: int
    full_ms: int


@dataclass(frozen=True, slots=True)
class Standings:
    """Of requests and of tokens; None where there is no limit."""

    requests: Standing | None
    tokens: Standing | None


class Rates:
    """One per process."""

    def __init__(self, bus: Bus):
        self._bus = bus

    @contextlib.asynccontextmanager
    async def paid(
        self,
        bearer: Bearer,
        id: str,
        tokens: int,
        keep_s: float,
        tell: Callable[[Standings], None],
        used: Callable[[], int | None],
        payer: str = "",
    ) -> AsyncIterator[None]:
        """Request `id` pays one request and so many tokens; at the end it has paid for what it has `used`. When that
        is None nobody will know, and what it paid is all. Who asks again for a request that has paid pays nothing,
        and settles nothing: `payer` tells them apart.

        Args:
            keep_s: seconds after which nobody will settle it any more.
            tell: is told what the key has left, also when the request is not let in.

        Raises:
            RateLimited: the key has not so many left; `retry_after` says when it will.
            BusUnavailable: Redis does not answer.
        """
        if not bearer.id or not (bearer.rpm or bearer.tpm):
            yield
            return
        await self._pay(bearer, id, tokens, keep_s, tell, payer)
        try:
            yield
        finally:
            cost = used()
            if cost is not None:
                with contextlib.suppress(QueuechatError):
                    args = (bearer.rpm, bearer.tpm, id, cost, payer)
                    await self._bus.connection.call("qc1_settle", keys.rate(bearer.id), *args)

    async def _pay(
        self, bearer: Bearer, id: str, tokens: int, keep_s: float, tell: Callable[[Standings], None], payer: str
    ) -> None:
        args = (bearer.rpm, bearer.tpm, id, tokens, round(keep_s * 1000), payer)
        wait_ms, *left = await self._bus.connection.call("qc1_spend", keys.rate(bearer.id), *args)
        standings = Standings(
            Standing(bearer.rpm, left[0], left[1]) if bearer.rpm else None,
            Standing(bearer.tpm, left[2], left[3]) if bearer.tpm else None,
        )
        tell(standings)
        if wait_ms:
            raise RateLimited(_why(bearer, standings, tokens), retry_after=wait_ms / 1000)

    async def ask(self, person: str, question: str, rpm: int) -> None:
        """A person at the page asks a question; the same question asks once, however many models answer it.

        Raises:
            RateLimited: they have asked `rpm` questions (0: any number) within a minute; `retry_after` says when again.
            BusUnavailable: Redis does not answer.
        """
        if rpm:
            args = (rpm, 0, question, 0, _MINUTE_MS, "")
            wait_ms, *_ = await self._bus.connection.call("qc1_spend", keys.rate(f"person-{person}"), *args)
            if wait_ms:
                raise RateLimited(f"you may ask {rpm} question{'s' * (rpm > 1)} a minute", retry_after=wait_ms / 1000)

    async def try_password(self, address: str, limit: int) -> None:
        """Somebody is about to try a password; right ones count as well, so that a guess after too many is not even
        looked at.

        Raises:
            RateLimited: there were more than `limit` (0: any number) within a minute.
            BusUnavailable: Redis does not answer.
        """
        await self._count(keys.passwords(network_of(address)), limit, "too many logins were tried from this address")

    async def wrong_key(self, address: str, limit: int) -> None:
        """Note that a wrong key came from an address.

        Raises:
            RateLimited: there were more than `limit` (0: any number) within a minute.
            BusUnavailable: Redis does not answer.
        """
        await self._count(keys.wrong_keys(network_of(address)), limit, "too many wrong API keys came from this address")

    async def _count(self, key: str, limit: int, why: str) -> None:
        if limit:
            count, left_ms = await self._bus.connection.call("qc1_wrong_key", key)
            if count > limit:
                raise RateLimited(f"{why}; wait a minute", retry_after=max(left_ms, 1) / 1000)


def _why(bearer: Bearer, standings: Standings, tokens: int) -> str:
    if standings.requests and standings.requests.left < 1:
        return f"this API key may send {bearer.rpm} requests a minute (RPM), and has sent them; slow down"
    left = standings.tokens.left if standings.tokens else 0
    return (
        f"this API key may have {bearer.tpm} tokens a minute (TPM): {left} are left, and this request asks for up to "
        f"{tokens}; slow down, or lower max_tokens"
    )


def network_of(address: str) -> str:
    """The address itself; of IPv6 its /64, which one person may well have whole."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv6Address) and not parsed.ipv4_mapped:
            return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return address
