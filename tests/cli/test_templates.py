"""The list of chat formats, as an operator looks at it."""

from __future__ import annotations

from tests.cli.command import Cli


async def test_templates_are_listed_with_their_stops_and_printed_by_name(cli: Cli) -> None:
    rows = {row["name"]: row for row in await cli.json("templates")}
    assert (rows["baize"]["stop"], rows["vicuna"]["aliases"]) == (["[|Human|]", "[|AI|]"], ["vicuna_v1.1"])
    code, out, _ = await cli("templates")
    assert (code, "'[|Human|]'" in out, "vicuna_v1.1" in out) == (0, True, True)
    code, out, _ = await cli("templates", "Vicuna-v1.1")
    assert (code, "ASSISTANT: " in out) == (0, True)
    code, _, err = await cli("templates", "vicunna")
    assert (code, "did you mean 'vicuna'?" in err) == (1, True)
