"""What a server that is not the provider's own gets to know: the request and its own key, and nobody else does."""

from __future__ import annotations

import os
from typing import Any

import openai
import pytest

from queuechat.bus import Bus
from tests.api.site import Site
from tests.relay.provider import Provider, Reply, a_provider
from tests.relay.relaying import ask, relaying
from workers.endpoints import endpoint_of
from workers.engines.remote import RemoteEngine

pytest.importorskip("anthropic", reason="the SDK of Anthropic is not installed: pip install 'queuechat[dev]'")

HI: list[Any] = [{"role": "user", "content": "Hi"}]
OURS = {
    "OPENAI_ORG_ID": "org-secret",
    "OPENAI_PROJECT_ID": "proj-secret",
    "OPENAI_ADMIN_KEY": "admin-secret",
    "OPENAI_CUSTOM_HEADERS": "X-Gate: gate-secret\nAuthorization: Bearer other-secret",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Gate: gate-secret\nX-Api-Key: other-secret",
    "ANTHROPIC_AUTH_TOKEN": "token-secret",
}


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("api_type", ["openai", "anthropic"])
async def test_nothing_of_our_environment_goes_to_another_host_nor_a_request_where_that_points(
    site: Site, bus: Bus, model: str, provider: Provider, api_type: str
) -> None:
    entry = {"api_type": api_type, "api_base": provider.url, "api_key": "for-them", "retries": 0}
    async with a_provider() as other, relaying(bus, model, **entry):
        await provider.reply(Reply(307, {"location": f"{other.url}/v1/messages"}))
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(site, model, HI)
        assert other.asked == []
    assert caught.value.code == "provider_refused"
    (asked,) = provider.asked
    told = str(dict(asked.headers))
    assert "for-them" in told
    assert "secret" not in told
    assert "openai-organization" not in asked.headers
    assert {name: os.environ[name] for name in OURS} == OURS


def test_the_service_of_openai_itself_is_told_the_organization() -> None:
    engine = RemoteEngine(endpoint_of({"model_name": "m", "api_type": "openai", "api_key": "ours"}, "m"))
    headers = engine._provider._client.default_headers  # type: ignore[attr-defined]
    assert (headers["OpenAI-Organization"], headers["OpenAI-Project"]) == ("org-secret", "proj-secret")
