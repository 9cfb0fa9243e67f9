"""Commands that run until SIGTERM: up, api, ui (and worker, in a file of its own)."""

from __future__ import annotations

from typing import Annotated

import typer

from queuechat.cli.app import app, settings
from queuechat.cli.worker import MODEL_HELP, EngineFlag, Names
from queuechat.embedded import redis_for

Host = Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help=f"{MODEL_HELP} May be repeated: a worker for each. [default: smollm2]"),
]


@app.command()
def api(
    host: Host = None, port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8000]")] = None
) -> None:
    """Run the OpenAI-compatible API."""
    loaded = settings(host=host, api_port=port)
    from api.server import run

    with redis_for(loaded.redis_url, loaded.state_dir) as url:
        run(loaded, url)


@app.command()
def ui(
    host: Host = None, port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 7860]")] = None
) -> None:
    """Run the web page."""
    loaded = settings(host=host, ui_port=port)
    from ui.server import run

    with redis_for(loaded.redis_url, loaded.state_dir) as url:
        run(loaded, url)


@app.command()
def up(
    model: Models = None,
    engine: EngineFlag = None,
    name: Names = None,
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="Port of the API. [default: 8000]")] = None,
    ui_port: Annotated[int | None, typer.Option(help="Port of the web page. [default: 7860]")] = None,
) -> None:
    """Run everything on this machine: Redis if none is set, API, web page and a worker for each model."""
    models = model or ["smollm2"]
    if name and len(models) > 1:
        raise typer.BadParameter("names one model, and here are several: leave it out", param_hint="'--name'")
    loaded = settings(host=host, api_port=port, ui_port=ui_port)
    from queuechat.cli.stack import run_stack

    with redis_for(loaded.redis_url, loaded.state_dir) as url:
        run_stack(loaded, url, models=models, engine=engine, name=name)
