"""The command tree, and what every command shares: settings at the door, errors as one line with an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from queuechat import __version__, logs
from queuechat.bus import Bus
from queuechat.embedded import EmbeddedRedis
from queuechat.errors import Misconfigured, QueuechatError
from queuechat.settings import Settings, load

T = TypeVar("T")

app = typer.Typer(
    name="queuechat",
    help="LLM serving without a controller: jobs on Redis streams, answers that survive kill -9.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
#: Data. A pipe or a log file gets whole rows, whatever width it claims to have.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)  #: everything else

#: Which module brings which commands; the order is that of the help text.
HOMES = {
    "running": ("up", "api", "ui"),
    "worker": ("worker",),
    "templates": ("templates",),
    "background": ("background",),
    "batch": ("batch",),
    "leaderboard": ("leaderboard",),
    "asking": ("chat", "cancel"),
    "looking": ("ps", "queues", "models", "config"),
    "top": ("top",),
    "jobs": ("jobs",),
    "dead": ("dead",),
    "keys": ("keys",),
    "people": ("people",),
    "usage": ("usage",),
    "logs": ("logs",),
    "bench": ("bench",),
    "checking": ("doctor", "audit", "healthcheck", "load-functions"),
}

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


def settings(**flags: Any) -> Settings:
    """Settings with flags on top; logging is set up by them."""
    loaded = load(**flags)
    logs.setup(loaded.log_level, as_json=loaded.log_json)
    return loaded


def reachable(loaded: Settings) -> str:
    """The Redis to ask questions of: the configured one, or the private one when it runs.

    Raises:
        Misconfigured: none is configured and none runs.
    """
    if loaded.redis_url:
        return loaded.redis_url
    server = EmbeddedRedis(loaded.state_dir)
    if not server.alive:
        raise Misconfigured("no Redis: set QUEUECHAT_REDIS_URL, or start one here with: queuechat up")
    return server.url


def with_bus(ask: Callable[[Bus], Awaitable[T]], loaded: Settings) -> T:
    """The answer to a question that needs a bus."""

    async def asking() -> T:
        bus = await Bus(reachable(loaded), patience_s=1.0).open()
        try:
            return await ask(bus)
        finally:
            await bus.close()

    return asyncio.run(asking())


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """LLM serving without a controller: jobs on Redis streams, answers that survive kill -9."""


def register(command: str = "") -> None:
    """Import the module of one command, or of all: what a command does not need would double the time that it takes."""
    for module in HOMES:
        if command in HOMES[module] or not any(command in commands for commands in HOMES.values()):
            import_module(f"queuechat.cli.{module}")


def main() -> None:
    """Entry of the command; errors of ours end it with one line and exit code 1, misuse with 2."""
    register(sys.argv[1] if len(sys.argv) > 1 else "")
    try:
        app()
    except QueuechatError as error:
        err.print(f"queuechat: {error.message}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
