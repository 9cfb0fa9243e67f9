"""A client's environment, made on first use, and its program run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.compat.listing import Client

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).parent / "clients"
PROGRAM_S = 900
_LEFT_OUT = ("OPENAI_", "ANTHROPIC_", "OLLAMA_", "PYTHON", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Row:
    """One cell: `ok` is None where the server has no such route."""

    feature: str
    ok: bool | None
    saw: str


def prepare(client: Client, cache: Path) -> list[str]:
    """The command that runs the client's program; installs what it needs unless that is there."""
    folder = cache / client.name
    stamp = folder / "installed.txt"
    wanted = "\n".join(client.packages)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {wanted.replace(chr(10), ', ')} …", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _install(client, folder)
        stamp.write_text(wanted)
    if client.is_node:
        for program in PROGRAMS.glob("*.mjs"):  # node looks for packages beside the program
            shutil.copy(program, folder)
        return ["node", str(folder / client.program)]
    return [str(folder / "bin" / "python"), "-m", f"tests.compat.clients.{client.program.removesuffix('.py')}"]


def _install(client: Client, folder: Path) -> None:
    if client.is_node:
        (folder / "package.json").write_text('{"private": true}')
        quiet = ("--silent", "--no-audit", "--no-fund")
        subprocess.run(["npm", "install", *quiet, *client.packages], cwd=folder, check=True, stdout=sys.stderr)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, *client.packages], check=True)


def run(command: list[str], told: dict[str, str], *features: str) -> list[Row]:
    """What the program reports of these features, or of all.

    Raises:
        RuntimeError: it fell over; the message holds its standard error.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
    env = {**clean, **told, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *features], env=env, cwd=ROOT, capture_output=True, text=True, timeout=PROGRAM_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return [Row(**_told_row(line)) for line in done.stdout.splitlines() if line.startswith('{"feature"')]


def _told_row(line: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line)
    return row
