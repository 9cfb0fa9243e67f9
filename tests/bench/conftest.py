"""A running API with an echo worker behind it, and the command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.site import Site, a_site
from tests.cli.command import Cli, Door
from tests.processes import Workers


@pytest.fixture(scope="session", autouse=True)
async def door() -> AsyncIterator[None]:
    yield
    await Door.close()


@pytest.fixture
def cli(redis_url: str, tmp_path: Path) -> Cli:
    return Cli(redis_url, tmp_path)


@pytest.fixture
async def served(redis_url: str, workers: Workers, model: str) -> AsyncIterator[Site]:
    """A site where `model` (alias `echo-<model>`) is answered by echo at full speed."""
    await workers.start("echo", f"{model},echo-{model}")
    async with a_site(redis_url) as site:
        yield site
