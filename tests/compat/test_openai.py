"""The current openai SDK against a server with a small real model; `make compat` has the other clients."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.compat.listing import CLIENTS, FEATURES
from tests.compat.running import Row, run
from tests.compat.site import a_stack
from tests.compat.table import tables

PROGRAM = [sys.executable, "-m", "tests.compat.clients.openai_python"]
OPENAI, OLDER = CLIENTS[:2]


async def test_the_openai_sdk_needs_no_more_than_base_url_and_key(tmp_path: Path) -> None:
    async with a_stack(tmp_path) as told:
        rows = await asyncio.to_thread(run, PROGRAM, told)
    assert len(rows) > 20
    assert [row for row in rows if row.ok is False] == []
    assert {row.feature for row in rows} <= {feature for family in FEATURES.values() for feature in family}
    told_of = {row.feature: row.saw for row in rows}
    # Words by which LangChain and litellm choose the class of an error.
    assert "Incorrect API key provided" in told_of["wrong_key"]
    assert "maximum context length is" in told_of["context"]
    assert "prompt is too long" in told_of["context"]


def test_a_table_tells_what_works_what_fails_and_what_a_client_does_not_offer() -> None:
    text = tables({OPENAI: [Row("chat", True, ""), Row("n", False, "")], OLDER: [Row("chat", None, "")]})
    assert text.splitlines() == [
        "### Chat",
        "",
        "|  | openai-python 3 | openai-python 1 |",
        "| --- | --- | --- |",
        "| whole answer | yes | no route |",
        *(f"| {words} | {'**fails**' if f == 'n' else '-'} | - |" for f, words in list(FEATURES["Chat"].items())[1:]),
    ]


def test_no_two_clients_share_a_name() -> None:
    assert len({client.name for client in CLIENTS}) == len({client.title for client in CLIENTS}) == len(CLIENTS)
