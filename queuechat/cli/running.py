"""Commands that run until SIGTERM: up, api, worker, ui."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

import typer

from queuechat.cli.app import app, settings
from queuechat.embedded import redis_for

Host = Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Hub id, folder, GGUF file, `smollm2` (small, real) or `echo` (no model).")
]
EngineFlag = Annotated[
    str | None,
    typer.Option(help="echo, llamacpp or transformers. [default: llamacpp for GGUF without a GPU, else transformers]"),
]
Names = Annotated[str | None, typer.Option("--name", help="Served name and aliases: a,b,c.")]


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
def worker(
    model: Model,
    name: Names = None,
    engine: EngineFlag = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, xpu, …; llamacpp: cpu or cuda.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16; llamacpp: auto is the file's own.")
    ] = "auto",
    max_running: Annotated[int | None, typer.Option(min=1, help="Sequences in the batch.")] = None,
    max_context: Annotated[int | None, typer.Option(min=16, help="Tokens of context; the model's own at most.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of llamacpp or transformers.")] = None,
    chat_template: Annotated[str | None, typer.Option(help="Jinja file or known name; overrides the model's.")] = None,
    echo_rate: Annotated[float, typer.Option(min=0, help="Tokens/s per stream of echo; 0 is full speed.")] = 0.0,
) -> None:
    """Serve one model on this host: pull its jobs, publish its tokens. Needs no open port, only a way to Redis."""
    loaded = settings()
    from workers.models import resolve
    from workers.supervisor import supervise

    spec = resolve(
        model,
        engine=engine,
        names=_split(name),
        device=device,
        dtype=dtype,
        revision=revision,
        threads=threads,
        echo_rate=echo_rate,
    )
    with redis_for(loaded.redis_url, loaded.state_dir) as url:
        spec = replace(
            spec,
            redis_url=url,
            cache_dir=str(loaded.cache_dir),
            max_running=max_running,
            max_context=max_context,
            chat_template=chat_template,
            log_level=loaded.log_level,
            log_json=loaded.log_json,
        )
        asyncio.run(supervise(spec, drain_s=loaded.drain_s, hang_s=loaded.hang_s))


@app.command()
def up(
    model: Model = "smollm2",
    engine: EngineFlag = None,
    name: Names = None,
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="Port of the API. [default: 8000]")] = None,
    ui_port: Annotated[int | None, typer.Option(help="Port of the web page. [default: 7860]")] = None,
) -> None:
    """Run everything on this machine: Redis if none is set, API, web page and one worker."""
    loaded = settings(host=host, api_port=port, ui_port=ui_port)
    from queuechat.cli.stack import run_stack

    with redis_for(loaded.redis_url, loaded.state_dir) as url:
        run_stack(loaded, url, model=model, engine=engine, name=name)


def _split(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]
