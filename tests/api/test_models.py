"""Which models there are, under all their names."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest

from queuechat.bus import Bus
from tests.api.hand import Hand
from tests.api.site import Site
from tests.api.test_chat import HELLO


async def listed(site: Site, name: str) -> dict[str, object]:
    """The entry of a model, once the roster has seen it."""
    while True:
        rows = (await site.http.get("/v1/models")).json()["data"]
        if found := [row for row in rows if row["id"] == name]:
            return dict(found[0])
        await site.house.roster.refresh()


async def test_models_are_listed_with_their_aliases(site: Site, bus: Bus, model: str) -> None:
    alias = f"alias-{model}"
    async with Hand(bus, model, aliases=[alias]):
        entry = await listed(site, model)
        other = await listed(site, alias)
        sdk = await site.sdk.models.list()
    assert (entry["root"], entry["status"], entry["engine"], entry["owned_by"]) == (model, "ready", "hand", "queuechat")
    assert (entry["max_model_len"], entry["aliases"]) == (4096, [alias])
    assert entry["queue"] == {"waiting": 0, "running": 0}
    assert entry["permission"][0]["object"] == "model_permission"  # type: ignore[index]
    assert (other["id"], other["root"]) == (alias, model)
    assert {model, alias} <= {row.id for row in sdk.data}


async def test_an_adapter_is_a_model_that_names_its_base(site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, f"{model}-bard", parent=model):
        entry = await listed(site, f"{model}-bard")
    assert (entry["root"], entry["parent"]) == (f"{model}-bard", model)


@pytest.mark.parametrize(
    ("abilities", "told"),
    [
        ({}, ["completion", "chat"]),
        ({"chats": False, "fim": True}, ["completion", "fim"]),
        ({"generates": False, "chats": False, "embeds": True}, ["embeddings"]),
        (
            {"tool_format": "hermes", "reasoning": "think", "grammars": ["json_schema"]},
            ["completion", "chat", "tools", "json_schema", "reasoning"],
        ),
    ],
)
async def test_a_row_tells_what_the_model_can_do(
    site: Site, bus: Bus, model: str, abilities: dict[str, Any], told: list[str]
) -> None:
    async with Hand(bus, model, **abilities):
        assert (await listed(site, model))["capabilities"] == told


async def test_a_model_with_a_slash_can_be_asked_for_and_used(site: Site, bus: Bus, model: str) -> None:
    name = f"org/{model}"
    async with Hand(bus, name) as hand:
        assert (await site.sdk.models.retrieve(name)).id == name
        assert (await site.http.get(f"/v1/models/{quote(name, safe='')}")).json()["id"] == name
        asked = asyncio.create_task(site.sdk.chat.completions.create(model=name, messages=HELLO))
        await hand.tell("yes")
        assert (await asked).model == name


async def test_an_alias_answers_under_the_name_that_was_asked_for(site: Site, bus: Bus, model: str) -> None:
    alias = f"gpt-{secrets.token_hex(4)}"
    async with Hand(bus, model, aliases=[alias]) as hand:
        asked = asyncio.create_task(site.sdk.chat.completions.create(model=alias, messages=HELLO))
        claim = await hand.tell("yes")
        assert claim.job.model == model
        assert (await asked).model == alias


async def test_an_unknown_model_is_a_404_that_names_the_likely_one(site: Site, hand: Hand) -> None:
    await site.house.roster.refresh()
    with pytest.raises(openai.NotFoundError) as caught:
        await site.sdk.chat.completions.create(model=hand.model + "x", messages=[{"role": "user", "content": "x"}])
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert f"Did you mean '{hand.model}'?" in caught.value.message
    response = await site.http.get("/v1/models/no-such-model")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_model_without_workers_is_a_503_and_not_listed(site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, model):
        await listed(site, model)
    await site.house.roster.refresh()
    assert model not in [row["id"] for row in (await site.http.get("/v1/models")).json()["data"]]
    assert (await site.http.get(f"/v1/models/{model}")).json()["status"] == "no_worker"
    response: httpx.Response = await site.post("/v1/completions", {"model": model, "prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_worker")
    assert int(response.headers["retry-after"]) >= 1
