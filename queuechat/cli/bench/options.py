"""What is asked of a bench on the command line, and what it means: requests, their pace, and who they go to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import orjson
import typer

from queuechat.cli.app import app
from queuechat.errors import InvalidRequest, Misconfigured

if TYPE_CHECKING:
    from queuechat.bench.driving import Pace
    from queuechat.bench.metrics import Measure
    from queuechat.bench.target import Target
    from queuechat.bench.workload import Ask

T = TypeVar("T")

bench = typer.Typer(invoke_without_command=True)
app.add_typer(bench, name="bench")

_WARM_UP = 8


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests and their pace."""

    requests: Annotated[int, typer.Option("--requests", "-n", min=1, help="Requests that are measured.")] = 200
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, help="Closed loop: requests at a time. [default: 16]")
    ] = None
    rate: Annotated[float | None, typer.Option(help="Open loop: requests a second, whatever becomes of them.")] = None
    burstiness: Annotated[
        float | None, typer.Option(help="Of an open loop: 1 is Poisson, less is burstier, more steadier. [default: 1]")
    ] = None
    max_concurrency: Annotated[int | None, typer.Option(min=1, help="Of an open loop: at most so many at a time.")] = (
        None
    )
    input_len: Annotated[
        str | None,
        typer.Option(help="Words of a prompt: N, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA[:MOST]. [default: 128]"),
    ] = None
    output_len: Annotated[str | None, typer.Option(help="Tokens of an answer, likewise. [default: 128]")] = None
    shared_prefix: Annotated[int | None, typer.Option(min=0, help="Words before each prompt, the same for all.")] = None
    token_ids: Annotated[
        str | None, typer.Option(help="LOW:HIGH: prompts are ids out of these, with --endpoint completions.")
    ] = None
    dataset: Annotated[
        Path | None, typer.Option(help="Prompts from a file: ShareGPT's JSON, or JSONL with `prompt` or `messages`.")
    ] = None
    seed: Annotated[int, typer.Option(help="The same seed asks the same: take another one against a prefix cache.")] = 0
    warmup: Annotated[
        int | None, typer.Option(min=0, help=f"Requests before those that count. [default: {_WARM_UP}]")
    ] = None
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that a request may take.")] = 600.0
    goodput: Annotated[
        list[str] | None, typer.Option(help="ttft:MS, tpot:MS, e2el:MS: only what keeps all of them is good.")
    ] = None
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Answers of full length, from servers that know `ignore_eos`.")
    ] = False
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0
    extra_body: Annotated[str | None, typer.Option(help="A JSON object: more fields for each request.")] = None
    allow_failures: Annotated[bool, typer.Option("--allow-failures", help="Exit code 0 even when requests failed.")] = (
        False
    )

    default_concurrency = 16
    default_output_len = "128"

    def check(self) -> None:
        """Raises InvalidRequest for what contradicts itself, before anything is started."""
        self.pace()
        self.goals()
        self.extra()
        self.asks()

    def pace(self) -> Pace:
        """When requests are sent."""
        from queuechat.bench.driving import Pace

        if self.rate is None:
            self._refuse_without("rate", "burstiness", "max_concurrency")
            return Pace(self.concurrency or self.default_concurrency, seed=self.seed, timeout_s=self.timeout)
        if self.concurrency is not None:
            raise InvalidRequest(
                "--rate (open loop) and --concurrency (closed loop) exclude each other; "
                "an open loop is bounded by --max-concurrency",
                param="concurrency",
            )
        burstiness = 1.0 if self.burstiness is None else self.burstiness
        for name, value in (("rate", self.rate), ("burstiness", burstiness)):
            if not 0 < value < float("inf"):
                raise InvalidRequest(f"--{name} must be above 0", param=name)
        return Pace(1, self.rate, burstiness, self.max_concurrency, self.seed, self.timeout)

    def asks(self, *, seed_offset: int = 0) -> tuple[list[Ask], list[Ask]]:
        """What is measured, and what is asked before to warm up."""
        from queuechat.bench.dataset import asks_from
        from queuechat.bench.lengths import Lengths
        from queuechat.bench.workload import Synthetic, parse_ids

        self._refuse_together()
        count, seed = self.requests + self.warm_ups, self.seed + seed_offset
        output = self.output_len or (None if self.dataset else self.default_output_len)
        answers = Lengths.parse(output, param="--output-len") if output else None
        if self.dataset:
            asks = asks_from(self.dataset, count, seed, answers)
        else:
            assert answers
            prompts = Lengths.parse(self.input_len or "128", param="--input-len")
            ids = parse_ids(self.token_ids) if self.token_ids else None
            asks = Synthetic(prompts, answers, self.shared_prefix or 0, ids).asks(count, seed)
        return asks[: self.requests], asks[self.requests :]

    @property
    def warm_ups(self) -> int:
        return _WARM_UP if self.warmup is None else self.warmup

    def goals(self) -> dict[Measure, float]:
        from queuechat.bench.metrics import parse_goals

        return parse_goals(self.goodput or [])

    def extra(self) -> dict[str, Any]:
        """Fields of every body."""
        made: dict[str, Any] = {"temperature": self.temperature}
        if self.ignore_eos:
            made["ignore_eos"] = True
        try:
            more = orjson.loads(self.extra_body or "{}")
        except orjson.JSONDecodeError:
            more = None
        if not isinstance(more, dict):
            raise InvalidRequest("--extra-body must be a JSON object", param="extra_body")
        return made | more

    def facts(self, target: Target) -> dict[str, Any]:
        """What was run, in vLLM's words."""
        from queuechat.bench.target import Endpoint
        from queuechat.masking import without_secrets

        pace = self.pace()
        return {
            "backend": "openai-chat" if target.endpoint is Endpoint.CHAT else "openai",
            "url": without_secrets(target.url),
            "model_id": target.model,
            "num_prompts": self.requests,
            "request_rate": "inf" if pace.rate is None else pace.rate,
            "burstiness": pace.burstiness,
            "max_concurrency": pace.concurrency if pace.rate is None else pace.max_concurrency,
            "seed": self.seed,
        }

    def _refuse_together(self) -> None:
        if self.dataset is None:
            return
        for name in ("input_len", "shared_prefix", "token_ids"):
            if getattr(self, name) is not None:
                raise InvalidRequest(f"{flag(name)} means nothing with --dataset: leave one of them out", param=name)

    def _refuse_without(self, needed: str, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise InvalidRequest(f"{flag(name)} means nothing without {flag(needed)}", param=name)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def spread(kind: type[T]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command with the fields of a dataclass among its options; it gets them as one value, `load`."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(kind, include_extras=True)
        known = list(fields(kind))  # type: ignore[arg-type]
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "load"]

        @functools.wraps(command)
        def called(**given: Any) -> None:
            load = kind(**{field.name: given.pop(field.name) for field in known})
            command(load=load, **given)

        options = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
            for f in known
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + options
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return wrap


def need_extra() -> None:
    """Raises Misconfigured when the packages that measuring needs are not installed."""
    try:
        import httptools  # noqa: F401
        import psutil  # noqa: F401
    except ImportError as error:
        raise Misconfigured(f"bench needs {error.name}: pip install 'queuechat[bench]'") from None
