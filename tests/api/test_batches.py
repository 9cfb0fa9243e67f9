"""The API's side of batches; tests/background runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from queuechat import keys
from queuechat.batches import get_batch
from queuechat.bus.chores import Chores
from queuechat.credentials import add_key
from queuechat.errors import Misconfigured
from tests.api.site import Site, a_site

URL: Any = "/v1/chat/completions"


@pytest.fixture
async def own(redis_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with a_site(f"{redis_url}/5", drain_s=0, state_dir=tmp_path, api_keys="one,two") as opened:
        opened.sdk.api_key = "one"
        opened.http.headers["authorization"] = "Bearer one"
        await opened.house.bus.connection.command("FLUSHDB")
        yield opened


async def upload(site: Site, purpose: Any = "batch") -> str:
    return (await site.sdk.files.create(file=("in", b"{}"), purpose=purpose)).id


async def test_a_new_batch_waits_to_be_validated_and_is_a_chore(own: Site) -> None:
    file = await upload(own)
    made = await own.sdk.batches.create(input_file_id=file, endpoint=URL, completion_window="24h", metadata={"a": "b"})
    assert (made.status, made.object, made.input_file_id, made.endpoint) == ("validating", "batch", file, URL)
    assert (made.completion_window, made.metadata) == ("24h", {"a": "b"})
    assert made.expires_at == made.created_at + 86400
    assert made.request_counts
    assert made.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert await own.sdk.batches.retrieve(made.id) == made
    assert await own.house.bus.connection.command("ZRANGE", keys.BACKGROUND, 0, -1) == [f"{made.id}:0".encode()]


async def test_lists_come_in_pages_the_newest_first(own: Site) -> None:
    file = await upload(own)
    made = []
    for at in range(5):
        batch = await own.sdk.batches.create(input_file_id=file, endpoint=URL, completion_window="24h")
        await own.house.bus.connection.command("ZADD", keys.batches("env"), "XX", at, batch.id)
        made.append(batch.id)
    index = (await own.house.bus.find_keys("qc:batches:*"))[0]
    for at, id in enumerate(made):  # they were made within milliseconds: tell their order
        await own.house.bus.connection.command("ZADD", index, at, id)
    first = await own.sdk.batches.list(limit=2)
    assert ([b.id for b in first.data], first.has_more) == (made[:2:-1], True)
    assert [b.id async for b in own.sdk.batches.list(limit=2)] == made[::-1]


async def test_a_batch_is_seen_by_its_own_key_alone(own: Site, redis_url: str) -> None:
    made = await own.sdk.batches.create(input_file_id=await upload(own), endpoint=URL, completion_window="24h")
    other = own.sdk.with_options(api_key="two")
    for ask in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            await ask(made.id)
        assert caught.value.code == "batch_not_found"
    assert (await own.sdk.batches.retrieve(made.id)).status == "validating"


async def test_a_batch_may_use_what_its_key_may_use(own: Site) -> None:
    key, token = await add_key(own.house.bus, "", "narrow", models=["small-*"])
    narrow = own.sdk.with_options(api_key=token)
    file = await narrow.files.create(file=("in", b"{}"), purpose="batch")
    made = await narrow.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
    assert not hasattr(made, "models")
    found = await get_batch(own.house.bus, made.id, key.id)
    assert found.models == ["small-*"]


GOOD = {"endpoint": URL, "completion_window": "24h"}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/images/edits"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"input_file_id": None}, "input_file_id"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_batch_that_makes_no_sense_is_refused_by_field(own: Site, change: Any, param: str) -> None:
    body = {"input_file_id": await upload(own), **GOOD, **change}
    answer = await own.post("/v1/batches", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].startswith(param)


async def test_a_file_for_something_else_is_no_batch(own: Site) -> None:
    answer = await own.post("/v1/batches", {"input_file_id": await upload(own, "evals"), **GOOD})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_file_id")


async def test_a_cluster_is_refused_with_the_reason() -> None:
    chores = Chores("redis+cluster://127.0.0.1:1")
    for ask in (chores.check, chores.worker):
        with pytest.raises(Misconfigured, match="cluster"):
            ask()
    await chores.close()
