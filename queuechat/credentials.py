"""API keys: `qc_<id>_<secret>`. Redis holds a keyed hash of the secret; the secret itself is shown once, when made."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import BusUnavailable, InvalidRequest, NotFound, Unauthorized

TRUST_S = 5.0  #: how long an answer of Redis is believed: a revoked key works no longer than this
_CACHED = 10_000
_PATTERN = re.compile(r"[A-Za-z0-9._:/@+*?\[\]!-]{1,200}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. Times are seconds since the epoch; `expires` 0 is never.

    `concurrency` is how many of its requests may run at a time, `rpm` and `tpm` how many requests and tokens it may
    have a minute; 0 is what the settings say. `models` are names, aliases or globs of what it may use; none is all.
    """

    id: str
    name: str
    created: int
    expires: int
    hash: str
    concurrency: int = 0
    rpm: int = 0
    tpm: int = 0
    models: tuple[str, ...] = ()

    @property
    def expired(self) -> bool:
        return 0 < self.expires <= time.time()


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who asks: the id of the key ("" when none is needed), how many requests it may have at a time, how many requests
    and tokens a minute (0: any), and globs of the models that it may use (none: all)."""

    id: str
    concurrency: int = 0
    rpm: int = 0
    tpm: int = 0
    models: tuple[str, ...] = ()

    @property
    def limited(self) -> bool:
        return bool(self.concurrency or self.rpm or self.tpm)

    def may_use(self, names: Iterable[str]) -> bool:
        """Whether it may use a model that has these names."""
        return not self.models or any(fnmatchcase(name, glob) for name in names for glob in self.models)


NOBODY = Bearer("")  #: who asks when no key is needed


async def add_key(
    bus: Bus,
    pepper: str,
    name: str,
    *,
    lifetime_s: float | None = None,
    concurrency: int = 0,
    rpm: int = 0,
    tpm: int = 0,
    models: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """Make and store a key; answers it and the token to hand out, which cannot be had again.

    Raises:
        InvalidRequest: one of `models` is no name or glob.
    """
    secret = secrets.token_urlsafe(32)
    now = time.time()
    expires = 0 if lifetime_s is None else round(now + lifetime_s)
    id, digest = secrets.token_hex(6), _digest(pepper, secret)
    key = ApiKey(id, name, round(now), expires, digest, concurrency, rpm, tpm, tuple(models))
    row = ["name", name, "created", key.created, "expires", expires, "hash", key.hash]
    row += _row(concurrency=concurrency, rpm=rpm, tpm=tpm, models=models)
    await bus.connection.insist([("HSET", keys.api_key(key.id), *row), ("SADD", keys.API_KEYS, key.id)])
    return key, f"qc_{key.id}_{secret}"


async def list_keys(bus: Bus) -> list[ApiKey]:
    """All stored keys, oldest first."""
    ids = [id.decode() for id in (await bus.connection.insist([("SMEMBERS", keys.API_KEYS)]))[0]]
    if not ids:
        return []
    rows = await bus.connection.insist([("HGETALL", keys.api_key(id)) for id in ids])
    found = [_key(id, row) for id, row in zip(ids, rows, strict=True)]
    return sorted((key for key in found if key), key=lambda key: (key.created, key.id))


async def change_key(
    bus: Bus,
    id: str,
    *,
    concurrency: int | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    models: Sequence[str] | None = None,
) -> ApiKey:
    """Change what is given of a key's limits; answers it as it is now. Servers follow within `TRUST_S`.

    Raises:
        NotFound: there is no such key.
        InvalidRequest: one of `models` is no name or glob.
    """
    row = _row(concurrency=concurrency, rpm=rpm, tpm=tpm, models=models)
    commands: list[tuple[Any, ...]] = [("HSET", keys.api_key(id), *row)] if row else []
    key = _key(id, (await bus.connection.insist([*commands, ("HGETALL", keys.api_key(id))]))[-1])
    if key is None:
        await bus.connection.insist([("DEL", keys.api_key(id))])  # it was just made, of nothing but these limits
        raise NotFound(f"there is no key {id!r}; see: queuechat keys list")
    return key


async def revoke_key(bus: Bus, id: str) -> bool:
    """Forget a key; answers whether there was one. Servers follow within `TRUST_S`."""
    removed = await bus.connection.insist([("DEL", keys.api_key(id)), ("SREM", keys.API_KEYS, id)])
    return any(removed)


class KeyRing:
    """The keys as one server sees them: static ones from its settings, stored ones read through a short memory.

    `concurrency` is how many requests a key may have at a time, `rpm` and `tpm` how many requests and tokens a minute,
    where it does not say so itself; 0 is any number.
    """

    def __init__(
        self,
        bus: Bus,
        pepper: str,
        static: Sequence[str] = (),
        *,
        required: bool = False,
        concurrency: int = 0,
        rpm: int = 0,
        tpm: int = 0,
    ):
        self._bus = bus
        self._pepper = pepper
        self._static = [(static_id(token), hashlib.sha256(token.encode()).digest()) for token in static]
        self._required = required
        self._default = Bearer("", concurrency, rpm, tpm)
        self._stored: dict[str, tuple[float, ApiKey]] = {}
        self._any: tuple[float, bool] | None = None

    async def needed(self) -> bool:
        """Whether a request must bring a key: some key exists, or the settings say so."""
        if self._static or self._required:
            return True
        now = time.monotonic()
        if self._any is None or now > self._any[0]:
            try:
                count = (await self._bus.connection.insist([("SCARD", keys.API_KEYS)]))[0]
                self._any = (now + TRUST_S, count > 0)
            except BusUnavailable:
                # With Redis away there is nothing to protect: the last answer keeps /metrics and /docs working.
                if self._any is None:
                    raise
                self._any = (time.monotonic() + TRUST_S, self._any[1])
        return self._any[1]

    async def check(self, token: str) -> Bearer:
        """Whose token this is.

        Raises:
            Unauthorized: a key is needed and this is not (or no longer) one.
        """
        if not await self.needed():
            return NOBODY
        if not token:
            raise Unauthorized("this server needs an API key: send `Authorization: Bearer <key>` or `x-api-key: <key>`")
        if static := self._match_static(token):
            return replace(self._default, id=static)
        if stored := await self._match_stored(token):
            default = self._default
            return Bearer(
                stored.id,
                stored.concurrency or default.concurrency,
                stored.rpm or default.rpm,
                stored.tpm or default.tpm,
                stored.models,
            )
        # litellm knows a wrong key by OpenAI's own words.
        raise Unauthorized("Incorrect API key provided: it is not known here, has expired or was revoked")

    def _match_static(self, token: str) -> str:
        given, found = hashlib.sha256(token.encode(errors="replace")).digest(), ""
        for name, digest in self._static:  # all of them, so that time tells nothing
            if hmac.compare_digest(given, digest):
                found = name
        return found

    async def _match_stored(self, token: str) -> ApiKey | None:
        prefix, _, rest = token.partition("_")
        id, _, secret = rest.partition("_")
        key = await self._look_up(id) if prefix == "qc" and _plausible(id) else None
        known = key.hash if key else _digest(self._pepper, "")  # an unknown id costs the same time
        same = hmac.compare_digest(known, _digest(self._pepper, secret))
        return key if key and same and not key.expired else None

    async def _look_up(self, id: str) -> ApiKey | None:
        now = time.monotonic()
        cached = self._stored.get(id)
        if cached and now <= cached[0]:
            return cached[1]
        key = _key(id, (await self._bus.connection.insist([("HGETALL", keys.api_key(id))]))[0])
        self._stored.pop(id, None)
        if key:
            if len(self._stored) >= _CACHED:
                self._stored.clear()
            self._stored[id] = (now + TRUST_S, key)
        return key


def _digest(pepper: str, secret: str) -> str:
    return hmac.new(pepper.encode(), secret.encode(errors="replace"), hashlib.sha256).hexdigest()


def static_id(token: str) -> str:
    """The id under which a key of the settings is known: it tells nothing of the key."""
    return "static-" + hashlib.sha256(token.encode()).hexdigest()[:8]


def _row(*, concurrency: int | None, rpm: int | None, tpm: int | None, models: Sequence[str] | None) -> list[str | int]:
    """The fields that are given."""
    for glob in models or ():
        if not _PATTERN.fullmatch(glob):
            raise InvalidRequest(f"{glob[:80]!r} is no model name, alias or glob (*, ?, [...])", param="models")
    given = {"concurrency": concurrency, "rpm": rpm, "tpm": tpm, "models": None if models is None else ",".join(models)}
    return [part for name, value in given.items() if value is not None for part in (name, value)]


def _plausible(id: str) -> bool:
    return 0 < len(id) <= 32 and id.isascii() and id.isalnum()


def _key(id: str, row: list[bytes] | dict[bytes, bytes]) -> ApiKey | None:
    fields = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
    if b"hash" not in fields:
        return None
    return ApiKey(
        id,
        fields[b"name"].decode(),
        int(fields[b"created"]),
        int(fields[b"expires"]),
        fields[b"hash"].decode(),
        int(fields.get(b"concurrency", 0)),
        int(fields.get(b"rpm", 0)),
        int(fields.get(b"tpm", 0)),
        tuple(fields.get(b"models", b"").decode().split(",")) if fields.get(b"models") else (),
    )
