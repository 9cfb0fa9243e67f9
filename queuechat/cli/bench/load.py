"""`queuechat bench`: load on a running server; `bench compare`: on several in turn."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urldefrag

import orjson
import typer

from queuechat.cli.app import JsonFlag, err, out, settings
from queuechat.cli.bench.options import Load, bench, flag, need_extra, spread
from queuechat.cli.tables import print_json, table
from queuechat.errors import InvalidRequest, Misconfigured
from queuechat.masking import without_secrets

if TYPE_CHECKING:
    from queuechat.bench.comparing import Comparison
    from queuechat.bench.driving import Run
    from queuechat.bench.metrics import Figures
    from queuechat.bench.target import Target

T = TypeVar("T")

Model = Annotated[str | None, typer.Option("--model", "-m", help="[default: the only one that the server has]")]
EndpointFlag = Annotated[str, typer.Option(help="chat or completions.")]
Headers = Annotated[list[str] | None, typer.Option("--header", "-H", help="'NAME: VALUE', for each request.")]
Key = Annotated[
    str | None,
    typer.Option(envvar="QUEUECHAT_BENCH_API_KEY", show_envvar=True, help="Sent as a bearer token, never shown."),
]
NoUsage = Annotated[bool, typer.Option("--no-usage", help="Count chunks, for servers without `stream_options`.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often each is driven.")]

_WIDTH = 60


@bench.callback()
@spread(Load)
def drive_one(
    context: typer.Context,
    load: Load,
    url: Annotated[str, typer.Option(help="Address of a server of OpenAI's API.")] = "http://127.0.0.1:8000",
    model: Model = None,
    endpoint: EndpointFlag = "chat",
    header: Headers = None,
    api_key: Key = None,
    no_usage: NoUsage = False,
    pids: Annotated[
        str | None, typer.Option(help="Processes of this machine whose CPU time per token is told: PID,PID,….")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File for the JSON with what each request did.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file for a picture of the run.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Put load on a server and measure it, by the definitions of `vllm bench serve`.

    Closed loop (--concurrency) or open loop (--rate). Exit code 1 when a request failed. With a command, measure
    something else.
    """
    if context.invoked_subcommand:
        _refuse_options_before(context)
        return
    settings(log_level="warning")
    need_extra()
    watched = {"watched processes": _numbers(pids)} if pids else {}
    for file in (output, plot):
        _refuse_unwritable(file)
    target = _target(url, model, endpoint, _headers(header, api_key), load, no_usage)
    load.check()
    target, run, figures = run_async(_driven(target, load, watched))
    present(load, target, run, figures, output=output, plot=plot, as_json=as_json)
    fail_if(figures.failed, load)


def present(
    load: Load,
    target: Target,
    run: Run,
    figures: Figures,
    *,
    output: Path | None = None,
    plot: Path | None = None,
    as_json: bool = False,
) -> None:
    """Show a run, and write the files that were asked for."""
    from queuechat.bench.plot import draw
    from queuechat.bench.report import document, shown

    facts = load.facts(target)
    if as_json:
        print_json(document(figures, facts))
    else:
        out.print(shown(figures, facts), width=_WIDTH, soft_wrap=False)
    if output:
        output.write_bytes(orjson.dumps(document(figures, facts, run)))
    if plot:
        draw(run, plot, f"{target.model}: {figures.completed} requests, {figures.output_throughput:.0f} tok/s")


@bench.command("compare")
@spread(Load)
def compare_servers(
    load: Load,
    urls: Annotated[
        list[str], typer.Argument(metavar="URL…", help="[NAME=]URL[#MODEL] of each server; the first is the measure.")
    ],
    rounds: Rounds = 3,
    model: Model = None,
    endpoint: EndpointFlag = "chat",
    header: Headers = None,
    api_key: Key = None,
    no_usage: NoUsage = False,
    as_json: JsonFlag = False,
) -> None:
    """Drive several servers in turn, round after round, with the same requests: medians, and ratios to the first.

    Each round has a seed of its own, so that no server answers from what it has seen. The API key goes to all of them.
    """
    settings(log_level="warning")
    need_extra()
    load.check()
    named = dict(_named(url) for url in urls)
    if len(named) < 2 or len(named) < len(urls):
        raise InvalidRequest("name at least two servers, each once: NAME=URL tells them apart", param="urls")
    headers = _headers(header, api_key)
    targets = {name: [_target(url, model, endpoint, headers, load, no_usage)] for name, url in named.items()}
    comparison = run_async(compared(targets, load, rounds))
    show_comparison(comparison, as_json)
    fail_if(comparison.failed, load)


async def compared(targets: dict[str, list[Target]], load: Load, rounds: int) -> Comparison:
    """Every server in turn, as often as wanted; a server may have several addresses."""
    from queuechat.bench.comparing import compare
    from queuechat.bench.target import with_model

    found = {name: [await with_model(target) for target in row] for name, row in targets.items()}

    async def one(name: str, number: int) -> Figures:
        err.print(f"round {number + 1} of {rounds}: {name}", style="dim", markup=False)
        _, figures = await measured(found[name], load, seed_offset=number)
        return figures

    return await compare(list(found), rounds, one)


def show_comparison(comparison: Comparison, as_json: bool) -> None:
    from queuechat.bench.comparing import COMPARED
    from queuechat.bench.report import remarks

    if as_json:
        print_json(comparison.document())
        return
    medians, ratios = comparison.medians(), comparison.ratios()
    rows = table("MEDIAN OF ROUNDS", *medians, *(f"{name} / {next(iter(medians))}" for name in list(medians)[1:]))
    for measure, _ in COMPARED:
        beside = (ratios[name][measure] for name in list(medians)[1:])
        told = ("-" if ratio is None else f"{ratio:.2f}" for ratio in beside)
        rows.add_row(measure, *(f"{medians[name][measure]:.2f}" for name in medians), *told)
    out.print(rows)
    for name, rounds in comparison.rounds.items():
        for line in dict.fromkeys(line for one in rounds for line in remarks(one)):
            err.print(f"{name}: {line}", style="yellow", markup=False)


async def measured(
    targets: list[Target], load: Load, *, seed_offset: int = 0, watched: dict[str, list[int]] | None = None
) -> tuple[Run, Figures]:
    """One run over these addresses of a server, and its figures."""
    from queuechat.bench.driving import drive
    from queuechat.bench.metrics import figures

    asks, warm_up = load.asks(seed_offset=seed_offset)
    run = await drive(targets, asks, load.pace(), warm_up=warm_up, watched=watched)
    return run, figures(run, load.goals())


async def _driven(target: Target, load: Load, watched: dict[str, list[int]]) -> tuple[Target, Run, Figures]:
    from queuechat.bench.target import with_model

    target = await with_model(target)
    return target, *await measured([target], load, watched=watched)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop, as the servers do."""
    import uvloop

    return uvloop.run(work)


def fail_if(failed: int, load: Load) -> None:
    if failed and not load.allow_failures:
        raise typer.Exit(1)


def _refuse_options_before(context: typer.Context) -> None:
    """Options in front of a command are not the command's: they would be lost."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    if lost := [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]:
        command = context.invoked_subcommand
        raise InvalidRequest(
            f"options of {command} stand after its name: bench {command} {flag(lost[0])} …", param=lost[0]
        )


def _target(url: str, model: str | None, endpoint: str, headers: dict[str, str], load: Load, no_usage: bool) -> Target:
    from queuechat.bench.connections import Server
    from queuechat.bench.target import Endpoint, Target

    if endpoint not in list(Endpoint):
        raise InvalidRequest(f"--endpoint {endpoint!r} is unknown: use chat or completions", param="endpoint")
    if load.token_ids and endpoint != Endpoint.COMPLETIONS:
        raise InvalidRequest("chats take no token ids: use --endpoint completions", param="token_ids")
    address, fragment = urldefrag(url)
    Server(address)
    return Target(address, fragment or model or "", Endpoint(endpoint), headers, load.extra(), not no_usage)


def _headers(given: list[str] | None, key: str | None) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    for line in given or []:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isprintable():
            raise InvalidRequest("--header must be 'NAME: VALUE', in printable characters", param="header")
        headers[name.strip()] = value.strip()
    return headers


def _named(text: str) -> tuple[str, str]:
    name, sign, url = text.partition("=")
    return (name, url) if sign and "://" not in name else (without_secrets(text), text)


def _numbers(pids: str) -> list[int]:
    from queuechat.bench.processes import Processes

    words = [word.strip() for word in pids.split(",")]
    if not all(word.isdecimal() for word in words):
        raise InvalidRequest(f"--pids {pids!r} must be process ids: PID,PID,…", param="pids")
    numbers = [int(word) for word in words]
    Processes(numbers)
    return numbers


def _refuse_unwritable(file: Path | None) -> None:
    """Before anything is measured, not after."""
    if file and not file.parent.is_dir():
        raise Misconfigured(f"there is no folder {file.parent} for {file.name}")
