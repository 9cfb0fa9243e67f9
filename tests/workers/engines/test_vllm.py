"""vLLM where a model computes no numbers. What it has in common with other engines is in `test_laws`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from queuechat.protocol import Sampling
from tests.workers.engines.conftest import started
from tests.workers.engines.driver import GREEDY, Driver
from tests.workers.engines.sick import CURSED, SOUND, boundless_model, cursed_model
from workers.engines.base import Prompt

pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make vllm")


@asynccontextmanager
async def running(folder: Path, dtype: str) -> AsyncIterator[Driver]:
    """Uncompiled: a compiler would take a minute for a model that is used for a second."""
    from workers.engines.vllm import VllmEngine

    engine: Any = VllmEngine(str(folder), dtype=dtype, max_running=8, max_context=256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "no-compiler")
        patch.setenv("TORCH_COMPILE_DISABLE", "0")  # the engine sets it, and an engine after it should find it unset
        driver = await started("vllm", engine)
    try:
        yield driver
    finally:
        await driver.close()


@pytest.fixture(scope="module")
async def cursed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Driver]:
    async with running(cursed_model(tmp_path_factory.mktemp("cursed")), "float32") as driver:
        yield driver


async def test_a_request_whose_logits_are_no_numbers_ends_with_an_error_and_the_others_go_on(cursed: Driver) -> None:
    (alone,) = await cursed.run(Prompt("alone", SOUND, 40, sampling=GREEDY))
    cursed.engine.admit(Prompt("neighbour", SOUND, 40, sampling=GREEDY))
    await cursed.speaking("neighbour")
    (bad,) = await cursed.run(Prompt("bad", [*SOUND, CURSED], 40, sampling=GREEDY))
    assert bad.ids == []
    assert (bad.end.reason, bad.end.retryable) == ("error", False)
    assert "NaN" in bad.end.error
    assert (await cursed.finished("neighbour")).ids == alone.ids
    assert cursed.engine.running() == 0


async def test_log_probabilities_and_sampling_need_no_compiler(cursed: Driver) -> None:
    warm = Sampling(temperature=0.9, top_p=0.9, top_k=40, seed=3, presence_penalty=0.5)
    (said,) = await cursed.run(Prompt("told", SOUND, 8, sampling=warm, logprobs=2))
    assert len(said.logprobs) == len(said.ids) == 8


async def test_logits_beyond_float16_are_no_numbers(tmp_path: Path) -> None:
    async with running(boundless_model(tmp_path), "float16") as driver:
        prompts = [Prompt(str(n), [n, *SOUND], 4, sampling=GREEDY) for n in range(8)]
        ends = [said.end for said in await driver.run(*prompts)]
    assert {end.reason for end in ends} >= {"error"}
    assert all("infinity" in end.error for end in ends if end.reason == "error")
