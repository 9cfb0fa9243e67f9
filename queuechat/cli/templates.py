"""`queuechat templates`: the chat formats that come with it, for models whose files have none."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from queuechat.cli.app import JsonFlag, app, out
from queuechat.cli.tables import print_json, table


@app.command()
def templates(
    name: Annotated[str | None, typer.Argument(help="Print this one, to change it or to read it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Chat templates that `worker --chat-template` knows by name."""
    from workers.text.named import asked_for, named

    if name is not None:
        typer.echo(asked_for(name).template, nl=False)
        return
    if as_json:
        rows = [{"name": one.name, "for": one.owners, "stop": one.stop, "aliases": one.aliases} for one in named()]
        print_json(rows)
        return
    made = table("NAME", "FOR", "STOPS AT", "ALSO CALLED")
    for one in named():
        made.add_row(one.name, one.owners, escape(" ".join(map(repr, one.stop))), ", ".join(one.aliases))
    out.print(made)
