"""Commands for dead letters, the jobs that lost one worker too many: dead list, show, redrive, drop."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, err, out, settings, with_bus
from queuechat.cli.jobs import print_life
from queuechat.cli.naming import ModelFlag, bare, models_named
from queuechat.cli.tables import date, print_json, span, table
from queuechat.errors import RequestNotFound
from queuechat.letters import Letter, drop, list_letters, redrive
from queuechat.timeline import Timeline, find_job

dead = typer.Typer(
    help="Dead letters: jobs that were put aside because their workers died. Kept for 7 days.", no_args_is_help=True
)
app.add_typer(dead, name="dead")

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID…", help="Ids as `dead list` shows them.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="Every letter (of --model), after a confirmation.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_WORDS = {
    "OK": "queued again",
    "ALREADY": "is not dead any more: it waits, runs or was answered",
    "MISSING": "cannot be queued again: its request is not kept any more; drop the letter",
}


@dead.command("list")
def list_all(model: ModelFlag = None, as_json: JsonFlag = False) -> None:
    """The letters, newest first; never a prompt."""
    letters = with_bus(lambda bus: _letters(bus, model), settings())
    if as_json:
        print_json([_row(letter) for letter in letters])
        return
    rows = table("ID", "MODEL", "AGE", "TOKENS", "CRASHES", "LAST WORKER", "TENANT")
    for one in letters:
        cells = (one.id, one.model, span(time.time() - one.at), str(one.tokens), str(one.crashes))
        rows.add_row(*map(escape, (*cells, one.worker, one.tenant)))
    out.print(rows if letters else "no dead letters")


@dead.command("show")
def show(id: Annotated[str, typer.Argument(help="The id of one letter.")], as_json: JsonFlag = False) -> None:
    """One letter and the life of its job; never the prompt."""

    async def ask(bus: Bus) -> tuple[Letter, Timeline | None]:
        (letter,) = _named(await _letters(bus, None), [id])
        return letter, await find_job(bus, [letter.model], letter.id)

    letter, job = with_bus(ask, settings())
    if as_json:
        print_json({**_row(letter), "job": job and asdict(job)})
        return
    told = (
        f"dead letter of {date(letter.at)}: {letter.crashes} workers died in a row, the last one was {letter.worker}",
        f"again: queuechat dead redrive {letter.id}    forget it: queuechat dead drop {letter.id}\n",
    )
    out.print("\n".join(told), markup=False, soft_wrap=True)
    if job:
        print_life(job)
    else:
        out.print("its request is not kept any more")


@dead.command("redrive")
def redrive_letters(ids: Ids = None, every: All = False, model: ModelFlag = None, yes: Yes = False) -> None:
    """Queue jobs again; each goes on after what was delivered of it. Exit code 1 when one of them could not be."""

    async def ask(bus: Bus) -> list[tuple[Letter, str]]:
        letters = await _meant(bus, ids, every, model, yes, "Queue {} dead letters again?")
        return list(zip(letters, await redrive(bus, letters), strict=True))

    outcomes = with_bus(ask, settings())
    for letter, word in outcomes:
        (out if word == "OK" else err).print(f"{letter.id} {_WORDS[word]}", markup=False, soft_wrap=True)
    if not outcomes:
        out.print("no dead letters")
    if any(word != "OK" for _, word in outcomes):
        raise typer.Exit(1)


@dead.command("drop")
def drop_letters(ids: Ids = None, every: All = False, model: ModelFlag = None, yes: Yes = False) -> None:
    """Forget letters, with their requests and what was answered of them. This cannot be undone."""

    async def ask(bus: Bus) -> int:
        return await drop(bus, await _meant(bus, ids, every, model, yes, "Drop {} dead letters for good?"))

    count = with_bus(ask, settings())
    out.print(f"{count} dropped" if count else "no dead letters")


async def _letters(bus: Bus, model: str | None) -> list[Letter]:
    return await list_letters(bus, await models_named(bus, model), count=None)


async def _meant(
    bus: Bus, ids: Sequence[str] | None, every: bool, model: str | None, yes: bool, question: str
) -> list[Letter]:
    """The letters that a command is about; of --all only after a yes."""
    if bool(ids) == every:
        raise typer.BadParameter("name the letters, or say --all (for all of them, or all of --model)")
    letters = await _letters(bus, model)
    if ids:
        return _named(letters, ids)
    if letters and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("--all asks before it does anything, and nobody is there to answer: add --yes")
        typer.confirm(question.format(len(letters)), abort=True)
    return letters


def _named(letters: Sequence[Letter], ids: Sequence[str]) -> list[Letter]:
    """The letters of these ids, or none.

    Raises:
        RequestNotFound: one of them is no letter's.
    """
    by_id = {letter.id: letter for letter in reversed(letters)}
    wanted = list(dict.fromkeys(map(bare, ids)))
    if unknown := [id for id in wanted if id not in by_id]:
        names = ", ".join(map(repr, unknown))
        raise RequestNotFound(f"no dead letter {names}; nothing was done. See: queuechat dead list")
    return [by_id[id] for id in wanted]


def _row(letter: Letter) -> dict[str, object]:
    row = asdict(letter)
    del row["entry"]
    return row
