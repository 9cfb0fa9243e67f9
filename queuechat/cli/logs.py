"""Commands for log files: what people voted and said, as rows and as figures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape

from queuechat.cleaning import battles, chats
from queuechat.cleaning.reading import Faults, log_files
from queuechat.cleaning.stats import Stats, take_stats
from queuechat.cleaning.writing import write_array, write_rows
from queuechat.cli.app import JsonFlag, app, err, out, settings
from queuechat.cli.tables import print_json, table
from queuechat.errors import InvalidRequest, Misconfigured

logs = typer.Typer(
    help="Votes and conversations that `queuechat background` has written to files, or FastChat has.",
    no_args_is_help=True,
)
app.add_typer(logs, name="logs")

Sources = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE|FOLDER]...", help="By default all of QUEUECHAT_ARENA_DIR.", exists=True),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="JSON file to write; - is standard output.")]
_STDOUT = Path("-")


@logs.command("clean-battles")
def clean_battles(
    sources: Sources = None,
    output: Output = Path("clean_battle.json"),
    mode: Annotated[
        battles.Mode, typer.Option(help="conv_release: with the conversations, anonymous battles only.")
    ] = battles.Mode.SIMPLE,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude-model", help="Leave its battles out; may be given again.")
    ] = None,
    ban_file: Annotated[
        Path | None,
        typer.Option(help='Voters whose votes do not count: a JSON list of their "ip"s.', exists=True, dir_okay=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Votes that count, as FastChat's clean_battle JSON, for ratings and for publication.

    Left out are votes on answers that tell which model speaks, on failed, empty or unfinished ones, those of banned
    voters and second lines of one battle. Voters get pseudonyms that are new with each run.
    """
    files, tally = _files(sources), battles.Tally()
    _write(
        battles.each_battle(files, tally, mode=mode, exclude=frozenset(exclude or ()), banned=_banned(ban_file)),
        output,
    )
    counts = {"votes": tally.votes, "kept": tally.kept, "anonymous": tally.anonymous, "dropped": dict(tally.dropped)}
    _tell(counts, tally.faults, output, as_json, f"{tally.kept} of {tally.votes} votes")


@logs.command("clean-chats")
def clean_chats(
    sources: Sources = None,
    output: Output = Path("clean_chat.json"),
    action: Annotated[
        chats.Action, typer.Option("--action-type", help="What was done to the conversations.")
    ] = chats.Action.CHAT,
    as_json: JsonFlag = False,
) -> None:
    """Conversations, as FastChat's clean_chat JSON: each once, as its last line has it; people by pseudonyms."""
    files, tally = _files(sources), chats.Tally()
    _write(chats.each_chat(files, action, tally), output)
    counts = {"lines": tally.lines, "kept": tally.kept, "dropped": dict(tally.dropped)}
    _tell(counts, tally.faults, output, as_json, f"{tally.kept} conversations of {tally.lines} lines")


@logs.command("stats")
def stats(sources: Sources = None, as_json: JsonFlag = False) -> None:
    """Chats and votes: by kind, by model, by day, and in the last 24 hours up to the newest line (UTC)."""
    found = _reading(lambda: take_stats(_files(sources)))
    if as_json:
        print_json({**found.as_json(), "faults": found.faults.shown})
        return
    _show(found)
    _warn(found.faults)


def _show(found: Stats) -> None:
    out.print(f"{found.lines} lines of {len(found.people)} people; {found.anonymous_votes} anonymous votes")
    busy = [hour for hour in found.by_hour() if hour["chats"] or hour["votes"] or hour["other"]]
    tables = (
        ("KIND", ("all", "last_day"), found.by_action()),
        ("MODEL", ("chats", "chats_last_day", "votes", "votes_last_day"), found.by_model()),
        ("DAY", ("chats", "votes", "other"), found.by_day()),
        ("HOUR", ("chats", "votes", "other"), busy),
    )
    for name, columns, rows in tables:
        shown = table(name, *(column.upper().replace("_", " ") for column in columns))
        for one in rows:
            first, *_ = one.values()
            shown.add_row(escape(str(first)), *(str(one[column]) for column in columns))
        if rows:
            out.print()
            out.print(shown)


def _files(sources: list[Path] | None) -> list[Path]:
    """The log files meant. Raises InvalidRequest when there are none."""
    folder = settings(log_level="warning").arena_dir
    places = sources or [folder]
    files = [file for place in places for file in (log_files(place) if place.is_dir() else [place])]
    if not files:
        where = ", ".join(map(str, places))
        raise InvalidRequest(f"no log file (*-conv.json) in {where}: `queuechat background` writes them")
    return files


def _banned(file: Path | None) -> frozenset[str]:
    if file is None:
        return frozenset()
    try:
        names = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{file} is not JSON: {error}", param="ban-file") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidRequest(f'{file} is no JSON list of strings, as ["4f1c…", "203.0.113.7"]', param="ban-file")
    return frozenset(names)


def _write(rows: Iterable[Mapping[str, Any]], output: Path) -> None:
    if output == _STDOUT:
        _reading(lambda: write_rows(rows, sys.stdout.buffer))
    else:
        _reading(lambda: write_array(rows, output))


def _reading(work: Any) -> Any:
    """What it returns. Raises Misconfigured when a file cannot be read or written."""
    try:
        return work()
    except OSError as error:
        raise Misconfigured(f"{error.filename or 'a file'}: {error.strerror or error}") from error


def _tell(counts: dict[str, Any], faults: Faults, output: Path, as_json: bool, words: str) -> None:
    """On standard error when the rows are on standard output."""
    told = {**counts, "unreadable": faults.count, "faults": faults.shown, "output": str(output)}
    if as_json and output != _STDOUT:
        print_json(told)
        return
    dropped = ", ".join(f"{count} {why}" for why, count in sorted(counts["dropped"].items()))
    err.print(f"{words}{' (dropped: ' + dropped + ')' if dropped else ''}: {output}", markup=False, soft_wrap=True)
    _warn(faults)


def _warn(faults: Faults) -> None:
    """Name the lines that could not be read."""
    if not faults.count:
        return
    err.print(f"{faults.count} lines are no log lines, and were left out:", style="yellow")
    for fault in faults.shown:
        err.print(f"  {fault}", markup=False, soft_wrap=True)
    if faults.count > len(faults.shown):
        err.print(f"  and {faults.count - len(faults.shown)} more")
