"""`python -m tests.compat [CLIENT …]`: each real client against a running server; exit code 1 when a cell fails."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.compat import table
from tests.compat.listing import CLIENTS, Client
from tests.compat.running import ROOT, Row, prepare, run
from tests.compat.site import a_stack


def main() -> int:
    """Run the clients that the command line names, or all."""
    names = {client.name: client for client in CLIENTS}
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description=__doc__)
    parser.add_argument("client", nargs="*", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--feature", action="append", default=[], help="only this one; may be given again")
    parser.add_argument("--cache", type=Path, default=ROOT / ".compat", help="folder of the clients' environments")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/compatibility.md")
    given = parser.parse_args()
    if unknown := set(given.client) - names.keys():
        parser.error(f"there is no client {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if given.write and (given.client or given.feature):
        parser.error("--write needs a run of every client and feature")
    chosen = [names[name] for name in given.client] or list(CLIENTS)
    with tempfile.TemporaryDirectory(prefix="compat-", ignore_cleanup_errors=True) as folder:
        results = asyncio.run(_run(chosen, given.cache, Path(folder), given.feature))
    print(table.tables(results))
    if given.write:
        table.write(results)
    failed = [row for rows in results.values() for row in rows if row.ok is False]
    return 1 if failed or not all(results.values()) else 0


async def _run(chosen: list[Client], cache: Path, folder: Path, features: list[str]) -> table.Results:
    commands = {client: prepare(client, cache) for client in chosen}
    results = {}
    async with a_stack(folder) as told:
        for client, command in commands.items():
            results[client] = await asyncio.to_thread(run, command, told, *features)
            for row in results[client]:
                _tell(client, row)
    return results


def _tell(client: Client, row: Row) -> None:
    sign = {True: "ok", False: "FAILS", None: "none"}[row.ok]
    print(f"{client.title:28} {row.feature:22} {sign:6} {row.saw[:300]!r}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
