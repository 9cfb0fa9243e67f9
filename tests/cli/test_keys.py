"""API keys, as an operator makes them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import Cli, run


async def test_keys_are_made_listed_and_revoked(redis_url: str, tmp_path: Path) -> None:
    _, token, _ = await run("keys", "add", "ci", url=redis_url, folder=tmp_path)
    id = token.split("_")[1]
    _, out, _ = await run("keys", "list", "--json", url=redis_url, folder=tmp_path)
    assert "hash" not in json.loads(out)[0]
    assert id in {row["id"] for row in json.loads(out)}
    code, _, err = await run("keys", "revoke", id, url=redis_url, folder=tmp_path)
    assert (code, "last key" in err) == (0, True)


async def test_a_key_may_bring_its_own_limit(cli: Cli) -> None:
    own = Cli(f"{cli.url}/6", cli.folder)  # a database of its own: as soon as one key exists, all ask for one
    _, limited, _ = await own("keys", "add", "ci", "--concurrency", "3")
    _, plain, _ = await own("keys", "add", "me")
    limits = {row["id"]: row["concurrency"] for row in await own.json("keys", "list")}
    assert [limits[token.split("_")[1]] for token in (limited, plain)] == [3, 0]
    _, out, _ = await own("keys", "list")
    assert sorted(line.split()[-1] for line in out.splitlines()) == ["3", "TIME", "setting"]
    code, _, _ = await own("keys", "add", "--concurrency", "-1")
    assert code == 2
