"""API keys: who a token belongs to, and what it may."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.credentials import TRUST_S, ApiKey, Bearer, KeyRing, add_key, change_key, list_keys, revoke_key
from queuechat.errors import InvalidRequest, NotFound, Unauthorized

PEPPER = "salt's sibling"


@pytest.fixture
async def own(redis_url: str) -> AsyncIterator[Bus]:
    """A database of this test's own: as soon as one key exists, all ask for one."""
    opened = await Bus(f"{redis_url}/{secrets.randbelow(5) + 8}").open()
    await opened.connection.command("FLUSHDB")
    yield opened
    await opened.connection.command("FLUSHDB")
    await opened.close()


async def test_a_key_brings_its_own_limit_and_else_that_of_the_ring(own: Bus) -> None:
    _, limited = await add_key(own, PEPPER, "ci", concurrency=3)
    key, plain = await add_key(own, PEPPER, "me")
    ring = KeyRing(own, PEPPER, ["from-the-settings"], concurrency=7)
    assert (await ring.check(limited)).concurrency == 3
    assert await ring.check(plain) == Bearer(key.id, 7)
    static = await ring.check("from-the-settings")
    assert (static.id.startswith("static-"), static.concurrency) == (True, 7)


async def test_without_a_limit_anywhere_there_is_none(own: Bus) -> None:
    key, token = await add_key(own, PEPPER, "me")
    assert await KeyRing(own, PEPPER).check(token) == Bearer(key.id, 0)


async def test_as_long_as_there_is_no_key_none_is_needed(own: Bus) -> None:
    ring = KeyRing(own, PEPPER, concurrency=7)
    assert await ring.check("") == await ring.check("anything") == Bearer("", 0)
    with pytest.raises(Unauthorized):
        await KeyRing(own, PEPPER, required=True).check("")


async def test_what_is_kept_is_read_again_with_its_limit_and_without_the_secret(own: Bus) -> None:
    made, token = await add_key(own, PEPPER, "ci", lifetime_s=60, concurrency=4)
    assert await list_keys(own) == [made]
    assert (made.concurrency, made.expired) == (4, False)
    kept = await own.connection.command("HGETALL", keys.api_key(made.id))
    assert kept[b"concurrency"] == b"4"
    assert token.split("_", 2)[2].encode() not in b"".join(kept.values())


async def test_a_key_of_an_earlier_release_has_no_limit_of_its_own(own: Bus) -> None:
    key, token = await add_key(own, PEPPER, "old")
    await own.connection.command("HDEL", keys.api_key(key.id), "concurrency")
    assert [one.concurrency for one in await list_keys(own)] == [0]
    assert await KeyRing(own, PEPPER, concurrency=5).check(token) == Bearer(key.id, 5)


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: t + "x", lambda t: t.replace("qc_", "qd_"), lambda _: ""]
)
async def test_a_token_that_is_not_quite_it_is_refused(own: Bus, spoil: object) -> None:
    _, token = await add_key(own, PEPPER, "me")
    with pytest.raises(Unauthorized):
        await KeyRing(own, PEPPER).check(spoil(token))  # type: ignore[operator]


async def test_another_pepper_makes_every_key_useless(own: Bus) -> None:
    _, token = await add_key(own, PEPPER, "me")
    with pytest.raises(Unauthorized):
        await KeyRing(own, "another").check(token)


async def test_an_expired_and_a_revoked_key_are_refused(own: Bus) -> None:
    expired, old = await add_key(own, PEPPER, "old", lifetime_s=-1)
    key, token = await add_key(own, PEPPER, "gone")
    assert expired.expired
    ring = KeyRing(own, PEPPER, required=True)
    with pytest.raises(Unauthorized):
        await ring.check(old)
    assert (await ring.check(token)).id == key.id
    assert await revoke_key(own, key.id)
    assert not await revoke_key(own, key.id)
    with pytest.raises(Unauthorized):
        await KeyRing(own, PEPPER, required=True).check(token)


async def test_a_ring_believes_what_it_read_for_a_short_time_only(own: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = await add_key(own, PEPPER, "gone")
    clock = [100.0]
    monkeypatch.setattr("queuechat.credentials.time.monotonic", lambda: clock[0])
    ring = KeyRing(own, PEPPER, required=True)
    bearer = await ring.check(token)
    await revoke_key(own, bearer.id)
    assert await ring.check(token) == bearer
    clock[0] += TRUST_S + 0.1
    with pytest.raises(Unauthorized):
        await ring.check(token)


async def test_a_key_brings_its_limits_and_scope_and_they_can_be_changed(own: Bus) -> None:
    made, token = await add_key(own, PEPPER, "ci", rpm=60, models=["smol*", "gpt-4o"])
    ring = KeyRing(own, PEPPER, rpm=5, tpm=700)
    assert await ring.check(token) == Bearer(made.id, 0, 60, 700, ("smol*", "gpt-4o"))
    changed = await change_key(own, made.id, rpm=0, tpm=9)
    assert (changed.rpm, changed.tpm, changed.models, changed.hash) == (0, 9, made.models, made.hash)
    assert await KeyRing(own, PEPPER, rpm=5).check(token) == Bearer(made.id, 0, 5, 9, made.models)


async def test_changing_a_key_that_is_not_there_makes_none(own: Bus) -> None:
    with pytest.raises(NotFound):
        await change_key(own, "nobody", rpm=3)
    assert await own.connection.command("EXISTS", keys.api_key("nobody")) == 0


@pytest.mark.parametrize("glob", ["", "a,b", "a b", "x" * 201])
async def test_a_scope_is_made_of_names_and_globs(own: Bus, glob: str) -> None:
    with pytest.raises(InvalidRequest):
        await add_key(own, PEPPER, "ci", models=[glob])


@pytest.mark.parametrize(
    ("models", "names", "may"),
    [
        ((), ["anything"], True),
        (("smol*",), ["smollm2"], True),
        (("smol*",), ["gpt-4o", "smollm2"], True),
        (("smol",), ["smollm2"], False),
        (("SMOL*",), ["smollm2"], False),
        (("org/*-7b", "x"), ["org/chat-7b"], True),
    ],
)
def test_a_scope_matches_a_model_by_any_of_its_names(models: tuple[str, ...], names: list[str], may: bool) -> None:
    assert Bearer("k", models=models).may_use(names) is may


def test_a_key_that_never_expires_is_not_expired() -> None:
    assert not ApiKey("i", "n", 1, 0, "h").expired
