"""Commands for who may log in at the page: people add, list, remove."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import Annotated

import typer

from queuechat.accounts import add_person, read_people, remove_person
from queuechat.cli.app import JsonFlag, app, err, settings
from queuechat.cli.tables import print_json
from queuechat.errors import InvalidRequest

people = typer.Typer(help="Who may log in at the web page, with QUEUECHAT_UI_LOGIN=password.", no_args_is_help=True)
app.add_typer(people, name="people")

Name = Annotated[str, typer.Argument(help="1 to 64 letters, digits or ._@+-")]


@people.command("add")
def add(name: Name) -> None:
    """Let somebody in, or give them another password: asked for, or the first line of standard input."""
    loaded = settings()
    new = add_person(loaded.people_file, name, _password())
    typer.echo(f"added {name}" if new else f"{name} has a new password")
    if loaded.ui_login != "password":
        err.print("the page asks for no password before it is started with QUEUECHAT_UI_LOGIN=password")


@people.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """Who may log in."""
    names = sorted(read_people(settings().people_file))
    if as_json:
        print_json([{"name": name} for name in names])
    else:
        typer.echo("\n".join(names) or "nobody may log in; see: queuechat people add")


@people.command("remove")
def remove(name: Name) -> None:
    """Let somebody in no more, within a second, also where they are logged in."""
    remove_person(settings().people_file, name)
    typer.echo(f"removed {name}")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    typed = getpass("Password: ")
    if getpass("Again: ") != typed:
        raise InvalidRequest("these were two different passwords; nothing has changed")
    return typed
