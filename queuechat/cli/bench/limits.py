"""`bench limits`: what the machine can do, what a model needs of it, and how near a run came."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from queuechat.cli.app import JsonFlag, out, settings
from queuechat.cli.bench.options import bench
from queuechat.cli.tables import print_json, table
from queuechat.errors import InvalidRequest, Misconfigured

if TYPE_CHECKING:
    from workers.machine import Machine
    from workers.shape import Shape

_GIGA = 1e9


@bench.command("limits")
def limits(
    model: Annotated[str, typer.Option("--model", "-m", help="Folder with safetensors, GGUF file, or `smollm2`.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16. [default: by the device]")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Sequences of a step. [default: 1, 8, 32, 128]")
    ] = None,
    context: Annotated[int, typer.Option(min=1, help="Tokens that each of them has.")] = 1024,
    prompt: Annotated[int, typer.Option(min=1, help="Tokens of the prompt whose reading is bounded.")] = 1024,
    run: Annotated[
        Path | None, typer.Option(help="A result of `bench --output`: how much of the limit it reached.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure copy bandwidth and matrix products, and print the least time that a model's steps can take here."""
    settings(log_level="warning")
    result = _reading(run) if run else None
    machine, shape = _measured(model, device, dtype, threads)
    found = _bounds(machine, shape, batch or [1, 8, 32, 128], context, prompt, result)
    if as_json:
        print_json(found)
    else:
        _show(machine, shape, found)


def _reading(file: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InvalidRequest(f"cannot read {file}: {error}", param="run") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{file} is no result of a run", param="run")
    return found


def _measured(model: str, device: str, dtype: str, threads: int | None) -> tuple[Machine, Shape]:
    from workers.models import resolve
    from workers.shape import read_shape

    source = resolve(model).source
    if source == "echo":
        raise InvalidRequest("echo has no weights: name a model", param="model")
    read_shape(source, "float32")  # what cannot be read is said before the machine is measured
    try:
        from workers.machine import measure
    except ImportError as error:
        raise Misconfigured(
            f"limits measures with torch ({error.name} is missing): pip install 'queuechat[worker]'"
        ) from None
    machine = measure(device, dtype, threads)
    return machine, read_shape(source, machine.dtype)


def _bounds(
    machine: Machine, shape: Shape, batches: list[int], context: int, prompt: int, run: dict[str, Any] | None
) -> dict[str, Any]:
    from queuechat.bench.roofline import Roof, share_of

    roof = Roof(shape, machine.bytes_per_s, machine.flops)
    steps = [(batch, roof.decode_s(batch, context)) for batch in batches]
    found: dict[str, Any] = {
        "machine": asdict(machine),
        "model": asdict(shape) | {"weights_bytes": shape.weights_bytes, "cache_bytes_per_token": shape.cache_bytes},
        "context": context,
        "decode": [{"batch": b, "step_ms": 1000 * s, "tokens_per_s": b / s} for b, s in steps],
        "prefill": {
            "tokens": prompt,
            "ms": 1000 * roof.prefill_s(prompt),
            "tokens_per_s": prompt / roof.prefill_s(prompt),
        },
    }
    if run is not None:
        share = share_of(roof, run)
        found["run"] = asdict(share) | {"percent_of_limit": share.percent}
    return found


def _show(machine: Machine, shape: Shape, found: dict[str, Any]) -> None:
    lines = [
        f"machine  {machine.device} ({machine.name}): copies {machine.bytes_per_s / _GIGA:.1f} GB/s, "
        f"multiplies {machine.flops / 1e12:.2f} TFLOP/s in {machine.dtype}",
        f"model    {shape.name}: {shape.weights_bytes / _GIGA:.3f} GB of weights a step, "
        f"{shape.cache_bytes / 1024:.1f} KiB of cache a token",
    ]
    if shape.experts:
        lines.append(f"         {shape.experts_of_token} of {shape.experts} experts a token")
    out.print("\n".join(lines), markup=False, soft_wrap=True)
    rows = table("BATCH", "STEP MS", "TOK/S AT MOST")
    for row in found["decode"]:
        rows.add_row(str(row["batch"]), f"{row['step_ms']:.2f}", f"{row['tokens_per_s']:.0f}")
    out.print(f"decode at a context of {found['context']} tokens")
    out.print(rows)
    prefill = found["prefill"]
    out.print(
        f"prefill of {prefill['tokens']} tokens: {prefill['ms']:.1f} ms at least ({prefill['tokens_per_s']:.0f} tok/s)"
    )
    if run := found.get("run"):
        out.print(
            f"the run took {run['measured_s']:.2f} s, the limit is {run['bound_s']:.2f} s: "
            f"{run['percent_of_limit']:.1f} % of the limit"
        )
