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


async def test_what_a_key_may_is_given_shown_and_changed(cli: Cli) -> None:
    own = Cli(f"{cli.url}/7", cli.folder)
    _, token, _ = await own(
        "keys", "add", "ci", "--model", "smol*", "--model", "gpt-4o", "--rpm", "60", "--tpm", "9000"
    )
    id = token.split("_")[1]

    async def limits() -> list[object]:
        (row,) = [row for row in await own.json("keys", "list") if row["id"] == id]
        return [row[name] for name in ("models", "rpm", "tpm", "concurrency")]

    assert await limits() == [["smol*", "gpt-4o"], 60, 9000, 0]
    _, out, _ = await own("keys", "list")
    assert "smol* gpt-4o" in out
    assert (await own("keys", "set", id, "--rpm", "5", "--concurrency", "2"))[0] == 0
    assert await limits() == [["smol*", "gpt-4o"], 5, 9000, 2]
    assert (await own("keys", "set", id, "--model", "*", "--tpm", "0"))[0] == 0
    assert await limits() == [["*"], 5, 0, 2]


async def test_a_limit_that_means_nothing_is_refused_and_changes_nothing(cli: Cli) -> None:
    own = Cli(f"{cli.url}/7", cli.folder)
    _, token, _ = await own("keys", "add", "ci")
    for wrong, said in (
        ((token.split("_")[1],), "nothing to change"),
        ((token.split("_")[1], "--model", "a,b"), "no model name, alias or glob"),
        (("nobody", "--rpm", "5"), "there is no key 'nobody'"),
    ):
        code, _, err = await own("keys", "set", *wrong)
        assert (code, said in err) == (1, True)
    assert "nobody" not in {row["id"] for row in await own.json("keys", "list")}
