"""What keys have had, as an operator looks at it."""

from __future__ import annotations

import time

from queuechat import keys
from queuechat.bus import Bus
from tests.cli.command import Cli
from tests.contract.test_usage import answered


async def test_usage_is_shown_by_key_model_and_day(bus: Bus, model: str, cli: Cli) -> None:
    await bus.connection.command("ZADD", keys.MODELS, int(time.time() * 1000), model)
    ann, bob = f"ann-{model}", f"bob-{model}"
    for tenant, tokens in ((ann, 5), (bob, 2), (ann, 1)):
        await answered(bus, model, tenant, tokens)
    rows = {row["key"]: row for row in await cli.json("usage")}
    assert rows[ann] == {"key": ann, "requests": 2, "prompt_tokens": 6, "tokens": 6}
    assert rows[bob]["tokens"] == 2
    assert await cli.json("usage", "--key", bob, "--by", "model") == [
        {"model": model, "requests": 1, "prompt_tokens": 3, "tokens": 2}
    ]
    assert sum(row["tokens"] for row in await cli.json("usage", "--key", ann, "--by", "day", "--since", "2d")) == 6
    code, out, _ = await cli("usage")
    assert (code, ann in out, "total" in out) == (0, True, True)
    _, out, _ = await cli("usage", "--key", "nobody")
    assert out.startswith("nothing since")
    code, _, err = await cli("usage", "--since", "soon")
    assert (code, "24h or 30d" in err) == (1, True)
