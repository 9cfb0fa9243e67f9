"""Commands for workers: `worker --model …` runs one here, `worker drain` empties one anywhere."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import replace
from typing import Annotated

import typer

from queuechat import keys
from queuechat.bus import Bus
from queuechat.cli.app import app, err, settings, with_bus
from queuechat.embedded import redis_for
from queuechat.errors import Misconfigured, NotFound
from queuechat.roster import take_census

MODEL_HELP = "Hub id, folder, GGUF file, `smollm2` or `smollm2-q4` (small, real) or `echo` (no model)."
EngineFlag = Annotated[
    str | None,
    typer.Option(
        help="echo, llamacpp, transformers, vllm, remote. [default: llamacpp for GGUF and no GPU, else transformers]"
    ),
]
Names = Annotated[str | None, typer.Option("--name", help="Served name and aliases: a,b,c.")]

_RELAYED = ("model", "name", "engine", "max_running", "endpoints", "api_base", "api_type", "api_key_env")

group = typer.Typer(invoke_without_command=True)
app.add_typer(group, name="worker")


@group.callback()
def worker(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help=f"{MODEL_HELP} [required]", show_default=False)
    ] = None,
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
    quantize: Annotated[str | None, typer.Option(help="int8 or int4: quantise the weights as they are loaded.")] = None,
    device_map: Annotated[
        str | None, typer.Option(help="auto, balanced, sequential: where accelerate puts the layers.")
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(metavar="0=20GiB,cpu=60GiB", help="What layers may take there."),
    ] = None,
    offload_folder: Annotated[str | None, typer.Option(help="Folder for layers that fit nowhere else.")] = None,
    tensor_parallel: Annotated[int | None, typer.Option(min=1, help="GPUs that share each layer (vllm).")] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="A LoRA adapter of peft's, served as a model; may be repeated."),
    ] = None,
    chat_template: Annotated[
        str | None, typer.Option(help="Name (see `queuechat templates`), Jinja file, or none; overrides the model's.")
    ] = None,
    tool_format: Annotated[
        str | None,
        typer.Option(help="How it calls tools: hermes, llama3, mistral, json or none. [default: by the template]"),
    ] = None,
    reasoning_tag: Annotated[
        str | None, typer.Option(help="Tag of its thoughts, e.g. think, or none. [default: by the template]")
    ] = None,
    echo_rate: Annotated[float, typer.Option(min=0, help="Tokens/s per stream of echo; 0 is full speed.")] = 0.0,
    endpoints: Annotated[
        str | None, typer.Option(help="api_endpoints.json: a worker for each of its models, or for --model alone.")
    ] = None,
    api_base: Annotated[str | None, typer.Option(help="Engine remote: whom to ask for --model.")] = None,
    api_type: Annotated[str | None, typer.Option(help="Engine remote: openai or anthropic. [default: openai]")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Engine remote: the variable with the API key.")] = None,
) -> None:
    """Serve one model on this host: pull its jobs, publish its tokens. Needs no open port, only a way to Redis.

    With a command, look after a worker that runs somewhere.
    """
    if context.invoked_subcommand:
        return
    if engine == "remote" or endpoints or api_base or api_type or api_key_env:
        _relay(context, _split(name))
        return
    if model is None:
        raise typer.BadParameter("missing: say which model to serve", param_hint="'--model' / '-m'")
    loaded = settings()
    from workers.fleet import supervise
    from workers.models import resolve

    spec = resolve(
        model,
        engine=engine,
        names=_split(name),
        device=device,
        dtype=dtype,
        revision=revision,
        threads=threads,
        quantize=quantize,
        device_map=device_map,
        max_memory=max_memory,
        offload_folder=offload_folder,
        tensor_parallel=tensor_parallel,
        lora=lora or (),
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
            tool_format=tool_format,
            reasoning=reasoning_tag,
            log_level=loaded.log_level,
            log_json=loaded.log_json,
        )
        asyncio.run(supervise([spec], drain_s=loaded.drain_s, hang_s=loaded.hang_s))


def _relay(context: typer.Context, names: list[str]) -> None:
    """Serve models of providers elsewhere: a worker for each."""
    loaded, given = settings(), context.params
    from workers.fleet import remote_specs, supervise

    told = [name for name in given if _was_told(context, name)]
    _refuse_local([name for name in told if name not in _RELAYED], given["engine"])
    remote = {name: given[name] for name in ("api_base", "api_type", "api_key_env")}
    specs = remote_specs(given["endpoints"], given["model"], names=names, **remote)
    with redis_for(loaded.redis_url, loaded.state_dir) as url:
        common = {"redis_url": url, "max_running": given["max_running"]}
        common |= {"log_level": loaded.log_level, "log_json": loaded.log_json}
        asyncio.run(supervise([replace(s, **common) for s in specs], drain_s=loaded.drain_s, hang_s=loaded.hang_s))


def _was_told(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse_local(odd: list[str], engine: str | None) -> None:
    """Raises Misconfigured for flags that mean nothing where the model is elsewhere."""
    if engine not in (None, "remote"):
        raise Misconfigured(
            f"--endpoints and --api-base, --api-type, --api-key-env are for engine 'remote', not {engine!r}"
        )
    if odd:
        flag = "--" + odd[0].replace("_", "-")
        raise Misconfigured(f"{flag} means nothing to engine 'remote', whose models are elsewhere; leave it out")


@group.command()
def drain(
    id: Annotated[str, typer.Argument(metavar="WORKER", help="Its id: what `queuechat ps` shows.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is gone.")] = False,
) -> None:
    """Let one worker take nothing new, finish what it runs (or hand it over after its grace time), and stop."""
    with_bus(lambda bus: _drain(bus, id, wait), settings())


async def _drain(bus: Bus, id: str, wait: bool) -> None:
    typer.echo(await tell_to_drain(bus, id))
    if wait:
        err.print("waiting until it is gone; Ctrl-C stops the waiting, not the draining", style="dim")
        while await bus.connection.command("EXISTS", keys.worker_card(id)):
            await asyncio.sleep(0.2)
        typer.echo(f"{id} is gone")


async def tell_to_drain(bus: Bus, id: str) -> str:
    """Tell a worker to drain; answers what people are told of it.

    Raises:
        NotFound: there is no such worker.
    """
    workers = {worker.id: worker for worker in (await take_census(bus)).workers}
    if id not in workers:
        raise NotFound(_unknown(id, sorted(workers)))
    if workers[id].state == "draining":  # told twice it would not wait for what is running
        return f"{id} is draining already"
    await bus.connection.command("PUBLISH", keys.control(id), "drain")
    return f"{id} drains: it takes nothing new and stops when what it runs is done or handed over"


def _unknown(id: str, there: list[str]) -> str:
    close = difflib.get_close_matches(id, there, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"there is no worker {id!r}.{hint} " + (
        f"Live workers: {', '.join(there)}." if there else "None is running."
    )


def _split(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]
