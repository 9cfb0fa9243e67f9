"""Files through the official SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from queuechat import keys
from queuechat.bus import Bus
from tests.api.site import Site, a_site


@pytest.fixture
async def own(redis_url: str, tmp_path: Path) -> Any:
    async with a_site(f"{redis_url}/3", drain_s=0, state_dir=tmp_path, file_limit=300_000, body_limit=1000) as opened:
        yield opened


async def test_what_was_uploaded_comes_back_byte_by_byte(own: Site, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000  # over the limit of other bodies
    made = await own.sdk.files.create(file=("täst.bin", content), purpose="user_data")
    assert (made.bytes, made.filename, made.purpose, made.expires_at) == (256_000, "täst.bin", "user_data", None)
    assert (await own.sdk.files.retrieve(made.id)) == made
    assert (await own.sdk.files.content(made.id)).read() == content
    assert [path.name for path in (tmp_path / "files").iterdir()] == [made.id]


async def test_a_deleted_file_is_gone_and_so_is_its_content(own: Site, tmp_path: Path) -> None:
    made = await own.sdk.files.create(file=("a", b"1"), purpose="evals")
    assert (await own.sdk.files.delete(made.id)).deleted
    for ask in (own.sdk.files.retrieve, own.sdk.files.content, own.sdk.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            await ask(made.id)
        assert caught.value.code == "file_not_found"
    assert list((tmp_path / "files").iterdir()) == []


async def test_lists_come_in_pages_in_either_order_and_of_one_purpose(own: Site) -> None:
    bus = own.house.bus
    await bus.connection.command("FLUSHDB")
    made = [(await own.sdk.files.create(file=(f"{k}", b"x"), purpose="evals")).id for k in range(5)]
    other = (await own.sdk.files.create(file=("o", b"x"), purpose="user_data")).id
    for at, id in enumerate([*made, other]):  # they were made within a second: tell their order
        await bus.connection.command("ZADD", keys.files(""), at, id)
    first = await own.sdk.files.list(limit=2, order="asc", purpose="evals")
    assert ([f.id for f in first.data], first.has_more) == (made[:2], True)
    assert [f.id async for f in own.sdk.files.list(limit=2, order="asc", purpose="evals")] == made
    assert [f.id async for f in own.sdk.files.list(limit=2)] == [other, *reversed(made)]
    page = (await own.http.get("/v1/files", params={"after": made[3], "limit": 2})).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[2], made[1], True)


async def test_a_file_is_seen_by_its_own_key_alone(redis_url: str, tmp_path: Path) -> None:
    async with a_site(f"{redis_url}/4", state_dir=tmp_path, api_keys="one,two") as shared:
        mine, theirs = (shared.sdk.with_options(api_key=key) for key in ("one", "two"))
        made = await mine.files.create(file=("a", b"1"), purpose="batch")
        assert [f.id for f in (await mine.files.list()).data] == [made.id]
        assert (await theirs.files.list()).data == []
        for ask in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
            with pytest.raises(openai.NotFoundError):
                await ask(made.id)
        with pytest.raises(openai.BadRequestError) as caught:
            await theirs.batches.create(input_file_id=made.id, endpoint="/v1/completions", completion_window="24h")
        assert caught.value.param == "input_file_id"


async def test_a_file_for_a_batch_expires_after_30_days_and_any_when_it_is_told_to(own: Site) -> None:
    batch = await own.sdk.files.create(file=("a", b"1"), purpose="batch")
    told = await own.sdk.files.create(
        file=("a", b"1"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert batch.expires_at == batch.created_at + 30 * 86400
    assert told.expires_at == told.created_at + 3600


async def test_an_expired_file_is_not_there_even_before_it_is_swept(own: Site, tmp_path: Path) -> None:
    made = await own.sdk.files.create(file=("a", b"1"), purpose="batch")
    await expire(own.house.bus, made.id)
    with pytest.raises(openai.NotFoundError):
        await own.sdk.files.retrieve(made.id)
    assert made.id not in [f.id for f in (await own.sdk.files.list()).data]


async def expire(bus: Bus, id: str) -> None:
    raw = (await bus.connection.command("GET", keys.file(id))).decode()
    import orjson

    row = {**orjson.loads(raw), "expires_at": 1}
    await bus.connection.insist([("SET", keys.file(id), orjson.dumps(row)), ("ZADD", keys.FILES, 1000, id)])


FILE = {"file": ("a", b"1")}


@pytest.mark.parametrize(
    ("form", "files", "param"),
    [
        ({"purpose": "batch"}, {"elif": ("a", b"1")}, "elif"),
        ({"purpose": "batch", "file": "text"}, {}, "file"),
        ({}, FILE, "purpose"),
        ({"purpose": "batch_output"}, FILE, "purpose"),
        ({"purpose": "batch", "expires_after[anchor]": "now"}, FILE, "expires_after[anchor]"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            FILE,
            "expires_after[seconds]",
        ),
    ],
)
async def test_a_form_that_makes_no_sense_is_refused_by_field(own: Site, form: Any, files: Any, param: str) -> None:
    answer = await own.http.post("/v1/files", data=form, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "order=up", "after=file-none"])
async def test_a_cursor_that_makes_no_sense_is_refused(own: Site, query: str) -> None:
    answer = await own.http.get(f"/v1/files?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])


async def test_a_file_over_the_limit_is_refused_and_leaves_nothing(own: Site, tmp_path: Path) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await own.sdk.files.create(file=("a", bytes(400_000)), purpose="batch")
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")

    async def chunked() -> Any:  # says no length
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(400):
            yield bytes(1000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await own.http.post("/v1/files", content=chunked(), headers=headers)
    assert answer.status_code == 413
    assert not (tmp_path / "files").exists()


async def test_other_paths_keep_their_own_limit(own: Site) -> None:
    assert (await own.http.post("/v1/completions", content=bytes(2000))).status_code == 413


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"])
async def test_a_body_that_is_no_form_is_a_400(own: Site, kind: str) -> None:
    answer: httpx.Response = await own.http.post("/v1/files", content=b"{}", headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
