"""Images from an OpenAI client to a worker process with a vision model, and answers about them that survive it."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.api.site import Site, a_site
from tests.processes import Workers
from tests.workers.engines import tiny_vision
from tests.workers.engines.tiny_vision import picture

pytest.importorskip("torch")


def about(file: bytes | None, **fields: Any) -> dict[str, Any]:
    content: Any = [{"type": "text", "text": "what is in the picture"}]
    if file is not None:
        url = f"data:image/png;base64,{base64.b64encode(file).decode()}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    extra = {"ignore_eos": True}
    return {"messages": [{"role": "user", "content": content}], "seed": 3, "extra_body": extra, **fields}


async def answer(site: Site, model: str, file: bytes | None, **fields: Any) -> tuple[str, int]:
    """The text, and how many tokens the prompt had."""
    whole = await site.sdk.chat.completions.create(model=model, **about(file, max_tokens=12, **fields))
    assert whole.usage is not None
    return whole.choices[0].message.content or "", whole.usage.prompt_tokens


async def test_a_worker_sees_what_a_client_shows(redis_url: str, workers: Workers, model: str, tmp_path: Path) -> None:
    folder = tiny_vision.llava(tmp_path / "seer")
    await workers.start(str(folder), model, "--device", "cpu", "--threads", "1")
    async with a_site(redis_url, drain_s=0) as site:
        plain, length = await answer(site, model, None)
        red = await answer(site, model, picture("red"))
        blue, seen = await answer(site, model, picture("blue"))
        assert len({plain, red[0], blue}) == 3
        assert (red[1], seen) == (length + 16, length + 16)  # an image is 16 tokens of this model
        assert await answer(site, model, picture("red")) == red
        with pytest.raises(openai.BadRequestError) as caught:
            await answer(site, model, picture("red", (80, 80))[:-60])
        assert caught.value.code == "invalid_image"
        await survives(site, workers, model)


async def survives(site: Site, workers: Workers, model: str) -> None:
    """An answer whose engine is killed in its middle is the one of an engine that lived."""
    asked = about(picture("red"), max_tokens=150)
    undisturbed = await site.sdk.chat.completions.create(model=model, **asked)
    text, killed = "", False
    async for chunk in await site.sdk.chat.completions.create(model=model, **asked, stream=True):
        text += chunk.choices[0].delta.content or ""
        if text and not killed:  # there may be few pieces: what a busy machine has not told yet is joined
            (card,) = await workers.of(model)
            os.kill(card.pid, signal.SIGKILL)
            killed = True
    assert text == undisturbed.choices[0].message.content
    async with asyncio.timeout(60):  # an answer that was complete by then does not wait for the new engine
        while [card.restarts for card in await workers.of(model)] != [1]:
            await asyncio.sleep(0.05)
