"""A worker process tells how its model speaks, and the API reads its answers so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.site import a_site
from tests.processes import Workers

TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ tools | tojson }}</think>assistant:<think>\n"
TOOLS: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


async def test_thoughts_and_tools_are_known_from_the_template_of_a_real_worker(
    redis_url: str, workers: Workers, model: str, tmp_path: Path
) -> None:
    file = tmp_path / "thinker.jinja"
    file.write_text(TEMPLATE)
    await workers.start("echo", model, "--chat-template", str(file), "--tool-format", "json")
    async with a_site(redis_url, drain_s=0) as site:
        body: Any = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "seed": 1}
        plain = await site.sdk.chat.completions.create(**body)
        armed = await site.sdk.chat.completions.create(**body, tools=TOOLS)
        stream = await site.sdk.chat.completions.create(**body, stream=True)
        deltas: list[Any] = [chunk.choices[0].delta async for chunk in stream]
    message: Any = plain.choices[0].message
    assert (len(message.reasoning_content.split()), message.content) == (5, "")  # the prompt had opened the thoughts
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == message.reasoning_content
    assert plain.usage is not None
    assert armed.usage is not None
    assert armed.usage.prompt_tokens > plain.usage.prompt_tokens  # the tools are in the prompt
