"""Large bodies are read beside the event loop."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from api import intake
from queuechat.dialects.schemas import parse
from tests.api.site import Site
from tests.api.test_refusals import CHAT, chat, check


@pytest.mark.parametrize(("letters", "beside"), [(100, False), (200_000, True)])
async def test_only_a_large_body_is_read_in_a_thread(
    site: Site, monkeypatch: pytest.MonkeyPatch, letters: int, beside: bool
) -> None:
    names: list[str] = []

    def noted(*given: Any) -> Any:
        names.append(threading.current_thread().name)
        return parse(*given)

    monkeypatch.setattr(intake, "parse", noted)
    said = [{"role": "user", "content": "a" * letters}]
    check(await site.post(CHAT, chat(messages=said, temperature=9)), 400, "invalid_value", "temperature")
    assert [name.startswith("bodies") for name in names] == [beside]
