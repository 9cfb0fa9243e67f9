"""One plant for the tests that break nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.background.plant import Plant, a_plant


@pytest.fixture(scope="session")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with a_plant(tmp_path_factory.mktemp("plant")) as opened:
        await opened.here.worker(200, 16)
        await opened.background(QUEUECHAT_BATCH_WINDOW="8")
        yield opened
