"""Commands for API keys: keys add, list, set, revoke."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, err, out, settings, with_bus
from queuechat.cli.tables import print_json, span, table
from queuechat.credentials import add_key, change_key, list_keys, revoke_key
from queuechat.errors import InvalidRequest, NotFound

keys = typer.Typer(help="API keys. As soon as one exists, the API wants one.", no_args_is_help=True)
app.add_typer(keys, name="keys")


_SETTING = "0: what the settings of the API say."
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="A model that it may use: name, alias or glob; may be given again. [default: all]"),
]
Rpm = Annotated[int | None, typer.Option("--rpm", min=0, help=f"Requests it may send a minute; {_SETTING}")]
Tpm = Annotated[
    int | None, typer.Option("--tpm", min=0, help=f"Tokens it may have a minute, read or written; {_SETTING}")
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", min=0, help=f"Requests it may have running at a time; {_SETTING}")
]


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")] = "",
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires. [default: never]")] = None,
    model: Models = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
) -> None:
    """Make a key. It is printed once and cannot be had again: Redis holds only a keyed hash."""
    loaded = settings()
    pepper = loaded.key_pepper.get_secret_value()
    lifetime = None if days is None else days * 86400

    async def adding(bus: Bus) -> str:
        limits = {"concurrency": concurrency or 0, "rpm": rpm or 0, "tpm": tpm or 0}
        return (await add_key(bus, pepper, name, lifetime_s=lifetime, models=model or (), **limits))[1]

    token = with_bus(adding, loaded)
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
    rows = table("ID", "NAME", "AGE", "EXPIRES", "MODELS", "RPM", "TPM", "AT A TIME")
    for key in found:
        left = "expired" if key.expired else f"in {span(key.expires - time.time())}" if key.expires else "never"
        limits = (str(limit or "the setting") for limit in (key.rpm, key.tpm, key.concurrency))
        models = escape(" ".join(key.models)) or "all"
        rows.add_row(key.id, escape(key.name), span(time.time() - key.created), left, models, *limits)
    out.print(rows if found else "no keys: the API asks for none")


@keys.command("set")
def change(
    id: Annotated[str, typer.Argument(help="The id that `keys list` shows.")],
    model: Models = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
) -> None:
    """Change what is named of a key's limits, within five seconds everywhere. `--model '*'` lets it use all."""
    if (model, rpm, tpm, concurrency) == (None,) * 4:
        raise InvalidRequest("nothing to change: name --model, --rpm, --tpm or --concurrency")

    async def changing(bus: Bus) -> None:
        await change_key(bus, id, models=model or None, rpm=rpm, tpm=tpm, concurrency=concurrency)

    with_bus(changing, settings())
    typer.echo("changed")


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
