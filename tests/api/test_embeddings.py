"""Embeddings in both encodings."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuechat.bus import Bus, Claim
from tests.api.hand import Hand
from tests.api.site import Site
from tests.api.test_refusals import check


def vector_of(item: str | list[int]) -> list[float]:
    return [float(len(item)), 3.0, 4.0, 0.1]


async def embed(hand: Hand, claim: Claim) -> None:
    for item in claim.job.inputs or []:
        await hand.say(claim, "", vector=base64.b64encode(struct.pack("<4f", *vector_of(item))).decode())
    await hand.end(claim)


@pytest.fixture
async def embedder(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model, embeds=True) as opened:
        opened.always(embed)
        yield opened


@pytest.mark.parametrize("given", ["abc", ["a", "bb"], [1, 2, 3], [[1], [2, 3]]])
async def test_an_input_may_be_text_or_ids_and_many(site: Site, embedder: Hand, given: Any) -> None:
    items = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    answer = await site.sdk.embeddings.create(model=embedder.model, input=given)  # the SDK asks for base64
    assert [row.index for row in answer.data] == list(range(len(items)))
    for row, item in zip(answer.data, items, strict=True):
        assert row.embedding == pytest.approx(vector_of(item))
    assert answer.usage.prompt_tokens == 7


async def test_both_encodings_hold_the_same_numbers(site: Site, embedder: Hand) -> None:
    async def ask(**fields: object) -> Any:
        response = await site.post("/v1/embeddings", {"model": embedder.model, "input": "abc", **fields})
        assert response.status_code == 200, response.text
        return response.json()["data"][0]["embedding"]

    plain = await ask()
    packed = await ask(encoding_format="base64")
    assert list(struct.unpack("<4f", base64.b64decode(packed))) == plain == pytest.approx(vector_of("abc"))


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_fewer_dimensions_are_cut_and_have_length_one(site: Site, embedder: Hand, encoding: Any) -> None:
    body = {"model": embedder.model, "input": "", "dimensions": 2, "encoding_format": encoding} | {"input": "abc"}
    value = (await site.post("/v1/embeddings", body)).json()["data"][0]["embedding"]
    if encoding == "base64":
        value = struct.unpack("<2f", base64.b64decode(value))
    assert list(value) == pytest.approx([2**-0.5, 2**-0.5])


async def test_more_dimensions_than_there_are_is_a_400(site: Site, embedder: Hand) -> None:
    response = await site.post("/v1/embeddings", {"model": embedder.model, "input": "a", "dimensions": 5})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "dimensions")


async def test_a_model_that_gives_no_embeddings_says_so(site: Site, hand: Hand) -> None:
    response = await site.post("/v1/embeddings", {"model": hand.model, "input": "a"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_a_model_that_only_embeds_answers_nothing(site: Site, bus: Bus, model: str, path: str) -> None:
    async with Hand(bus, model, embeds=True, generates=False):
        body = {"messages": [{"role": "user", "content": "x"}]} if path.startswith("chat") else {"prompt": "x"}
        message = check(await site.post(f"/v1/{path}", {"model": model, **body}), 400, "invalid_value", "model")
        assert "/v1/embeddings" in message


async def test_older_clients_name_the_model_in_the_path(site: Site, embedder: Hand) -> None:
    answer = await site.post(f"/v1/engines/{embedder.model}/embeddings", {"input": "abc"})
    assert answer.json()["data"][0]["embedding"] == pytest.approx(vector_of("abc"))
