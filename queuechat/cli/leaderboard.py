"""Commands for the leaderboard: compute it from votes, look at it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, err, out, settings, with_bus
from queuechat.cli.tables import date, print_json, table
from queuechat.errors import InvalidRequest, Misconfigured, NotFound
from queuechat.leaderboard import results, wording
from queuechat.leaderboard.results import Leaderboard, Standing, Table
from queuechat.standings import publish, published

if TYPE_CHECKING:
    from queuechat.leaderboard.battles import CleanBattle

leaderboard = typer.Typer(help="Ratings of models from people's votes.", no_args_is_help=True)
app.add_typer(leaderboard, name="leaderboard")

StyleFlag = Annotated[bool, typer.Option("--style-control", help="With length and Markdown of answers controlled for.")]


@leaderboard.command("build")
def build_one(
    battles: Annotated[
        list[Path] | None,
        typer.Option(
            help="FastChat's clean_battle JSON; repeatable. [default: the votes recorded in QUEUECHAT_ARENA_DIR]"
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for leaderboard.json and leaderboard.csv.")
    ] = Path(),
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Bootstrap rounds of the intervals.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same votes and seed give the same result.")] = 0,
    style_control: StyleFlag = False,
    category: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; repeatable. [default: all, and languages with 100 votes]"),
    ] = None,
    categories: Annotated[
        Path | None, typer.Option(help="TOML file of your own. [default: QUEUECHAT_LEADERBOARD_CATEGORIES]")
    ] = None,
    anchor: Annotated[
        str | None, typer.Option(metavar="MODEL=SCORE", help="Shift all scores so that this model has this one.")
    ] = None,
    exclude_outliers: Annotated[bool, typer.Option(help="Leave out voters who vote against everybody else.")] = False,
    named: Annotated[bool, typer.Option(help="Count votes too whose voter knew the models' names.")] = False,
    to_pages: Annotated[bool, typer.Option("--publish", help="Show it on the pages, until the next one.")] = False,
) -> None:
    """Rate models by Bradley-Terry, with 95 % bootstrap intervals, and rank them by these as FastChat does."""
    loaded = settings()
    held = _anchor(anchor)
    try:
        from queuechat.leaderboard.building import Options, build
        from queuechat.leaderboard.categories import choose, read_categories
    except ModuleNotFoundError as error:
        raise Misconfigured(f"ratings need {error.name}: pip install 'queuechat[leaderboard]'") from None
    own_file = categories or loaded.leaderboard_categories
    own = read_categories(own_file) if own_file else []
    votes, dropped = _votes(battles or [], loaded.arena_dir, named=named)
    chosen = choose(category or [], own, votes)
    made = build(votes, Options(rounds, seed, style_control, chosen, held, exclude_outliers, named))
    made = replace(made, left_out={**dropped, **made.left_out})
    written = results.write_leaderboard(output, made)
    if to_pages:
        with_bus(lambda bus: publish(bus, made), loaded)
    _print(made, made.tables[0] if made.tables else None, styled=style_control)
    err.print(f"written: {written[0]} and {written[1].name}", markup=False, soft_wrap=True)


@leaderboard.command("show")
def show(
    file: Annotated[
        Path | None, typer.Option(help="A leaderboard.json. [default: the one that the pages show]", dir_okay=False)
    ] = None,
    category: Annotated[str, typer.Option(help="Which table.")] = "all",
    style_control: StyleFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """One table of a leaderboard."""
    loaded = settings()
    made = results.read_leaderboard(file) if file else with_bus(_published, loaded)
    if as_json:
        print_json(made)
        return
    found = {one.category: one for one in made.tables}
    if category not in found:
        raise InvalidRequest(f"it has no category {category!r}, but {', '.join(found) or 'none'}", param="category")
    _print(made, found[category], styled=style_control)


async def _published(bus: Bus) -> Leaderboard:
    raw = await published(bus)
    if raw is None:
        raise NotFound(
            "no leaderboard yet: queuechat background makes one of recorded votes, "
            "and so does: queuechat leaderboard build --publish"
        )
    return results.decode(raw)


def _votes(files: list[Path], arena: Path, *, named: bool) -> tuple[list[CleanBattle], dict[str, int]]:
    """From clean_battle files, or from the log files of the arena; and how many votes were left out there, by why."""
    from queuechat.leaderboard.battles import battle_of, read_battles

    if files:
        from queuechat.cleaning.completing import completed

        return [completed(battle) for battle in read_battles(files)], {}
    from queuechat.cleaning.battles import Mode, Tally, each_battle
    from queuechat.cleaning.reading import log_files

    tally = Tally()
    # Rows that have the conversations, which categories look into, are of anonymous battles only.
    mode = Mode.SIMPLE if named else Mode.CONV_RELEASE
    try:
        made = [battle_of(row) for row in each_battle(log_files(arena), tally, mode=mode)]
    except OSError as error:
        raise Misconfigured(f"{error.filename}: {error.strerror}") from None
    for fault in tally.faults.shown:
        err.print(f"not readable: {fault}", style="yellow", markup=False, soft_wrap=True)
    faults = {"unreadable": tally.faults.count} if tally.faults.count else {}
    return sorted(made, key=lambda battle: battle.tstamp), {**tally.dropped, **faults}


def _anchor(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    name, _, number = text.rpartition("=")
    try:
        score = float(number)
    except ValueError:
        score = math.nan
    if not name or not math.isfinite(score):
        raise InvalidRequest(f"--anchor must be MODEL=SCORE, as vicuna-13b=1000, not {text[:80]!r}", param="anchor")
    return name, score


def _print(made: Leaderboard, shown: Table | None, *, styled: bool) -> None:
    if shown is None:
        out.print("no votes")
        return
    controlled = shown.styled if styled else None
    standings = controlled.standings if controlled else shown.standings
    votes = controlled.votes if controlled else shown.votes
    if styled and not controlled:
        err.print("without style control: nothing tells of the style of these votes' answers", style="yellow")
    how = ", style controlled" if controlled else ""
    out.print(f"{shown.title}: {wording.of_votes(votes)}{how}, computed {date(made.made_at)}", markup=False)
    rows = table("RANK", "MODEL", "SCORE", "95 % INTERVAL", "VOTES", "WON", "ELO", "")
    for one in standings:
        rows.add_row(*map(escape, _cells(one)))
    if standings:
        out.print(rows)
    for line in filter(None, (wording.shortage(votes, standings), *wording.notes(made, shown))):
        err.print(line, markup=False, soft_wrap=True)


def _cells(one: Standing) -> tuple[str, ...]:
    rank = "–" if one.rank is None else str(one.rank)
    counts = (str(one.votes), f"{one.win_rate:.0%}", f"{one.elo:.0f}")
    return rank, one.model, wording.score(one), wording.interval(one), *counts, wording.why_unrated(one)
