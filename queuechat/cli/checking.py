"""Commands that check: doctor, audit, healthcheck; and load-functions, which an upgrade begins with."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from queuechat import keys
from queuechat.audit import Report, audit_all, models_with_keys
from queuechat.bus import Bus
from queuechat.cli.app import JsonFlag, app, out, settings, with_bus
from queuechat.cli.naming import ModelFlag, models_named
from queuechat.cli.tables import print_json, table
from queuechat.roster import take_census


@app.command()
def doctor() -> None:
    """Check this machine and Redis; every problem comes with what to do. Exit code 1 when something cannot work."""
    from queuechat.cli.doctor import examine

    findings = examine(settings())
    marks = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "bad": "[red]bad [/]"}
    for finding in findings:
        out.print(marks[finding.verdict], end=" ")
        out.print(f"{finding.what}{' — ' + finding.remedy if finding.remedy else ''}", markup=False, soft_wrap=True)
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(1)


@app.command()
def audit(model: ModelFlag = None, as_json: JsonFlag = False) -> None:
    """Check that streams, jobs, logs and deadlines agree, while all goes on. Exit code 1 when something does not."""

    async def ask(bus: Bus) -> list[Report]:
        names = set(await models_named(bus, model)) | (set() if model else await models_with_keys(bus))
        return await audit_all(bus, sorted(names))

    reports = with_bus(ask, settings())
    faults = [fault for report in reports for fault in report.faults]
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        rows = table("MODEL", "JOBS", "USAGE ENTRIES", "FAULTS")
        for one in reports:
            rows.add_row(escape(one.model), str(one.jobs), str(one.usage), str(len(one.faults)))
        out.print(rows if reports else "nothing to look at: Redis knows no model")
        for fault in faults:
            out.print(f"{fault.model} {fault.id}: {fault.what}", markup=False, soft_wrap=True)
    if faults:
        raise typer.Exit(1)


@app.command("load-functions")
def load_functions() -> None:
    """Bring Redis the functions of this release; made for upgrades, with a role that may (deploy).

    Each process does so by itself when its role allows it. A newer release's functions are left alone.
    """

    async def ask(bus: Bus) -> dict[str, bytes]:
        await bus.connection.load_functions()
        return await bus.connection.everywhere("FCALL", "qc1_version", 0)

    for server, version in with_bus(ask, settings()).items():
        revision, _, sha = version.decode().partition(":")
        out.print(f"{server}: revision {revision} ({sha})", markup=False, soft_wrap=True)


@app.command()
def healthcheck(
    process: Annotated[str, typer.Argument(help="api, ui, worker or background: the one on this host.")],
) -> None:
    """Exit code 0 when a process of this host is well; made for containers."""
    loaded = settings(log_level="error")
    if process == "worker":
        workers = with_bus(take_census, loaded).workers
        well = any(w.host == socket.gethostname() and w.state in ("ready", "draining") for w in workers)
    elif process == "background":
        command = ("EXISTS", keys.background(socket.gethostname()))
        well = bool(with_bus(lambda bus: bus.connection.command(*command), loaded))
    elif process in ("api", "ui"):
        port, path = (loaded.api_port, "/readyz") if process == "api" else (loaded.ui_port, "/")
        well = answers(f"http://127.0.0.1:{port}{path}")
    else:
        raise typer.BadParameter("must be api, ui, worker or background")
    typer.echo("well" if well else "not well")
    raise typer.Exit(0 if well else 1)


def answers(url: str) -> bool:
    """Whether an HTTP server is there and can answer; what it answers does not matter below 500."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status < 500)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
