"""docs/compatibility.md: its tables are written from what was run, the words around them by hand."""

from __future__ import annotations

from pathlib import Path

from tests.compat.listing import FEATURES, Client
from tests.compat.running import ROOT, Row

PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- begin: written by make compat -->\n", "<!-- end -->"
_SIGNS: dict[bool | None, str] = {True: "yes", False: "**fails**", None: "no route"}

Results = dict[Client, list[Row]]


def tables(results: Results) -> str:
    """One table per family of features, with the clients that have any of them; "-" is what a client does not offer."""
    parts = []
    for family, features in FEATURES.items():
        cells = {client: {row.feature: _SIGNS[row.ok] for row in rows} for client, rows in results.items()}
        within = [client for client in results if features.keys() & cells[client].keys()]
        if within:
            head = ["", *(client.title for client in within)]
            body = [[words, *(cells[c].get(name, "-") for c in within)] for name, words in features.items()]
            lines = [head, ["---"] * len(head), *body]
            parts.append(f"### {family}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return "\n".join(parts)


def versions(results: Results) -> str:
    """What was installed, one line per client."""
    return "\n".join(f"- {client.title}: {', '.join(f'`{p}`' for p in client.packages)}" for client in results) + "\n"


def write(results: Results, page: Path = PAGE) -> None:
    """Put the tables in their place on the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{tables(results)}\n### Versions\n\n{versions(results)}\n{END}{after}")
