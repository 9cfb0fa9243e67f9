"""Commands for API keys: keys add, list, revoke."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, err, out, settings, with_bus
from queuechat.cli.tables import print_json, span, table
from queuechat.credentials import add_key, list_keys, revoke_key
from queuechat.errors import NotFound

keys = typer.Typer(help="API keys. As soon as one exists, the API wants one.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")] = "",
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires. [default: never]")] = None,
    concurrency: Annotated[
        int, typer.Option(min=0, help="Requests it may have running at a time; 0: what the settings of the API say.")
    ] = 0,
) -> None:
    """Make a key. It is printed once and cannot be had again: Redis holds only a keyed hash."""
    loaded = settings()
    pepper = loaded.key_pepper.get_secret_value()
    lifetime = None if days is None else days * 86400
    _, token = with_bus(lambda bus: add_key(bus, pepper, name, lifetime_s=lifetime, concurrency=concurrency), loaded)
    typer.echo(token)
    if not pepper:
        err.print("set QUEUECHAT_KEY_PEPPER before you make keys that matter: hashes are then useless without it")


@keys.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """All keys, without their secrets."""
    found = with_bus(list_keys, settings())
    if as_json:
        print_json([{k: v for k, v in asdict(key).items() if k != "hash"} for key in found])
        return
    rows = table("ID", "NAME", "AGE", "EXPIRES", "AT A TIME")
    for key in found:
        left = "expired" if key.expired else f"in {span(key.expires - time.time())}" if key.expires else "never"
        rows.add_row(key.id, key.name, span(time.time() - key.created), left, str(key.concurrency or "the setting"))
    out.print(rows if found else "no keys: the API asks for none")


@keys.command("revoke")
def revoke(id: Annotated[str, typer.Argument(help="The id that `keys list` shows.")]) -> None:
    """Make a key useless, within five seconds everywhere."""
    loaded = settings()

    async def revoking(bus: Bus) -> int:
        if not await revoke_key(bus, id):
            raise NotFound(f"there is no key {id!r}; see: queuechat keys list")
        return len(await list_keys(bus))

    left = with_bus(revoking, loaded)
    typer.echo("revoked")
    if not left and not loaded.api_keys and not loaded.require_key:
        err.print("that was the last key: the API is open to all now; QUEUECHAT_REQUIRE_KEY=true closes it")
