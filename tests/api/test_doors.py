"""Keys, browsers, health, metrics and documentation."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from queuechat import credentials
from queuechat.bus import Bus
from queuechat.credentials import add_key, list_keys, revoke_key
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_refusals import chat, check


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_without_any_key_none_is_needed(site: Site) -> None:
    assert (await site.http.get("/v1/models")).status_code == 200


async def test_a_static_key_guards_all_but_the_health_of_the_server(redis_url: str) -> None:
    async with a_site(redis_url, api_keys="alpha,beta", cors_origins="http://app.test") as site:
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nothing"):
            response = await site.http.get(path)
            check(response, 401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
            for wrong in ("gamma", "qc_0011_x", "qc__", "qc_", "ü"):
                headers = [(b"authorization", b"Bearer " + wrong.encode())]
                check(await site.http.get(path, headers=headers), 401, "invalid_api_key")
        for path in ("/health", "/livez", "/readyz", "/version"):
            assert (await site.http.get(path)).status_code == 200
        assert (await site.http.get("/v1/models", headers=bearer("alpha"))).status_code == 200
        assert (await site.http.get("/v1/models", headers={"x-api-key": "beta"})).status_code == 200
        preflight = {"origin": "http://app.test", "access-control-request-method": "POST"}
        assert (await site.http.options("/v1/chat/completions", headers=preflight)).status_code == 200


async def test_a_required_key_is_required_even_when_there_is_none(redis_url: str) -> None:
    async with a_site(redis_url, require_key=True) as site:
        check(await site.http.get("/v1/models"), 401, "invalid_api_key")


async def test_a_stored_key_works_until_it_is_revoked_and_names_the_tenant(
    redis_url: str, bus: Bus, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "TRUST_S", 0.0)
    async with a_site(redis_url, key_pepper="salt and pepper", require_key=True) as site:
        key, token = await add_key(bus, "salt and pepper", "laptop")
        old, expired = await add_key(bus, "salt and pepper", "old", lifetime_s=-1)
        try:
            assert {"laptop", "old"} <= {stored.name for stored in await list_keys(bus)}
            asked = asyncio.create_task(
                site.http.post("/v1/chat/completions", json=chat(model=hand.model), headers=bearer(token))
            )
            assert (await hand.tell("yes")).job.tenant == key.id
            assert (await asked).status_code == 200
            for wrong in (token[:-1], token + "x", f"qc_{key.id}_", f"qc_{old.id}_{token.split('_', 2)[2]}", expired):
                check(await site.http.get("/v1/models", headers=bearer(wrong)), 401, "invalid_api_key")
            raw = await bus.connection.command("HGETALL", f"qc:key:{key.id}")
            assert token.split("_", 2)[2] not in str(raw)
        finally:
            assert await revoke_key(bus, key.id)
            assert await revoke_key(bus, old.id)
        assert not await revoke_key(bus, key.id)
        check(await site.http.get("/v1/models", headers=bearer(token)), 401, "invalid_api_key")


async def test_browsers_may_call_from_named_origins_only(redis_url: str) -> None:
    asked = {
        "origin": "http://app.test",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-os",
    }
    async with a_site(redis_url, cors_origins="http://app.test") as site:
        preflight = await site.http.options("/v1/chat/completions", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "http://app.test"
        assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
        refused = await site.http.options("/v1/chat/completions", headers=asked | {"origin": "http://evil.test"})
        assert "access-control-allow-origin" not in refused.headers
        answer = await site.http.post("/v1/chat/completions", content=b"{", headers={"origin": "http://app.test"})
        assert answer.headers["access-control-allow-origin"] == "http://app.test"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_without_named_origins_browsers_get_no_permission(site: Site) -> None:
    response = await site.http.get("/v1/models", headers={"origin": "http://app.test"})
    assert "access-control-allow-origin" not in response.headers


async def test_health_says_what_was_checked(site: Site) -> None:
    assert (await site.http.get("/livez")).json() == {"status": "alive"}
    for path in ("/readyz", "/health"):
        assert (await site.http.get(path)).json() == {
            "status": "ready",
            "checks": {"redis": "ok", "draining": "no"},
        }
        assert (await site.http.head(path)).status_code == 200
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", (await site.http.get("/version")).json()["version"])


async def test_metrics_count_what_happened(site: Site, hand: Hand) -> None:
    for _ in range(2):
        asked = asyncio.create_task(site.post("/v1/chat/completions", chat(model=hand.model, stream=True)))
        await hand.tell("a", "b")
        await asked
    await site.post("/v1/chat/completions", chat(model="no-such-model"))
    await site.house.roster.refresh()
    page = (await site.http.get("/metrics")).text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    model = hand.model
    assert found["queuechat_tokens_total", *sorted(("generated", model))] == 4
    assert found["queuechat_tokens_total", *sorted(("prompt", model))] == 14
    assert found["queuechat_ttft_seconds_count", model] == 2
    assert found["queuechat_e2e_seconds_count", model] == 2
    assert found["queuechat_queue_seconds_count", model] == 2
    assert found["queuechat_workers", *sorted((model, "ready"))] == 1
    assert found["queuechat_queue_depth", *sorted(("jobs", model))] == 0
    assert found["queuechat_open_streams",] == 0
    assert found["queuechat_redis_up",] == 1
    assert found["queuechat_refused_total", "model_not_found"] >= 1
    assert found["queuechat_http_requests_total", *sorted(("/v1/chat/completions", "POST", "200"))] >= 2
    assert not [key for key in found if "no-such-model" in key]


async def test_the_documentation_needs_no_other_host(site: Site) -> None:
    page = (await site.http.get("/docs")).text
    assert "swagger-ui" in page
    assert not re.findall(r"(?:src|href)=[\"']https?://", page)
    for asset in re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page):
        response = await site.http.get(asset)
        assert response.status_code == 200, asset
        assert len(response.content) > 10_000


async def test_the_openapi_document_tells_what_bodies_may_hold(site: Site) -> None:
    document = (await site.http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {"ChatRequest", "CompletionRequest", "EmbeddingRequest", "Message", "Error"} <= set(schemas)
    post = document["paths"]["/v1/chat/completions"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ChatRequest"}
    assert "temperature" in schemas["ChatRequest"]["properties"]
    assert "422" not in post["responses"]
