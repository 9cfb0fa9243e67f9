"""Level 2 of the resume contract, measured: real answers cut at every place, taken over, compared bit by bit.

One transformers engine in float32 gives the undisturbed answers, all at once. A second one, which has seen none of
them, takes over after every one of their tokens, in random order and as many at a time as it holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tests.resume.cases import MODES, SMALL, STOP, Case, large, small, with_stop
from tests.resume.cuts import Difference, Whole, taken_over, whole
from tests.resume.worker import Worker

T = TypeVar("T")


@dataclass
class Tally:
    """A mode's row in the table."""

    answers: int = 0
    tokens: int = 0
    cuts: int = 0
    equal: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    margins: list[float] = field(default_factory=list)


def engine(running: int, *, shared: bool) -> Any:
    """A transformers engine, started; `shared`: resumes that begin alike share what the cache has of it, as shipped."""
    from workers.engines.transformers import TransformersEngine
    from workers.models import resolve

    spec = resolve("smollm2", engine="transformers", device="cpu", dtype="float32")
    made = TransformersEngine(spec.source, device="cpu", dtype="float32", max_running=running, max_context=512)
    made.start()
    if not shared:
        made._manager.batch_processor.cache.use_prefix_sharing = False
    return made


async def gathered(work: Iterable[Awaitable[T]], label: str) -> list[T]:
    """All of them, with progress on stderr."""
    tasks = [asyncio.ensure_future(one) for one in work]
    began, said = time.monotonic(), 0.0
    for n, task in enumerate(asyncio.as_completed(tasks), 1):
        await task
        if time.monotonic() - said > 15 or n == len(tasks):
            said = time.monotonic()
            print(f"{label}: {n} of {len(tasks)} after {said - began:.0f} s", file=sys.stderr, flush=True)
    return [task.result() for task in tasks]


async def undisturbed(worker: Worker, cases: list[Case]) -> list[Whole]:
    """Their answers; those that were sampled plainly are asked again with a stop string out of their own text."""
    free = await gathered((whole(worker, case) for case in cases), "undisturbed")
    chosen = [with_stop(one.case, one.answer.text, one.published.texts) for one in free if one.case.mode == "sampled"]
    stopped = await gathered((whole(worker, case) for case in chosen if case), "undisturbed, with a stop string")
    return [*free, *stopped]


async def measure(args: argparse.Namespace) -> tuple[dict[str, Tally], list[Difference]]:
    cases = large(args.prompts, args.tokens, args.seed) + small(args.small, args.tokens, args.seed)
    wanted = args.only or [STOP, *MODES, *SMALL]
    cases = [case for case in cases if case.mode in wanted or (case.mode == "sampled" and STOP in wanted)]
    first = Worker(await asyncio.to_thread(engine, args.running, shared=True))
    wholes = [one for one in await undisturbed(first, cases) if one.case.mode in wanted]
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    for one in wholes:
        _count(tallies[one.case.mode], one, first)
    await first.close()
    second = Worker(await asyncio.to_thread(engine, args.running, shared=args.shared))
    places = [(one, cut) for one in wholes for cut in one.cuts]
    random.Random(args.seed).shuffle(places)
    found = await gathered((taken_over(second, one, cut) for one, cut in places), "taken over")
    for (one, _), differences in zip(places, found, strict=True):
        tallies[one.case.mode].cuts += 1
        tallies[one.case.mode].equal += not differences
    explained = [_explained(second, one, d) for (one, _), each in zip(places, found, strict=True) for d in each]
    await second.close()
    return dict(tallies), explained


def _count(tally: Tally, one: Whole, worker: Worker) -> None:
    from tests.resume.calls import margins

    tally.answers += 1
    tally.tokens += len(one.answer.ids)
    reason = one.answer.end.reason.value
    tally.ends[reason] = tally.ends.get(reason, 0) + 1
    model = worker.engine._model  # type: ignore[attr-defined]
    tally.margins += margins(model, worker.prompt_ids(one.case.job), one.answer.ids, one.case.job.sampling)


def _explained(worker: Worker, one: Whole, difference: Difference) -> Difference:
    """With how close the call was between the token that was expected and the next best."""
    from tests.resume.calls import margins

    if difference.place < 0:
        return difference
    ids, job = one.answer.ids[: difference.place + 1], one.case.job
    model = worker.engine._model  # type: ignore[attr-defined]
    gap = margins(model, worker.prompt_ids(job), ids, job.sampling)[-1]
    return replace(difference, got=f"{difference.got}, margin {gap:.2e}")


def table(tallies: dict[str, Tally]) -> str:
    head = f"{'mode':<14} {'answers':>7} {'tokens':>7} {'cuts':>6} {'equal':>6} {'share':>9} {'closest call':>13}  ends"
    lines = [head]
    for mode, tally in tallies.items():
        ends = ", ".join(f"{reason} {count}" for reason, count in sorted(tally.ends.items()))
        share = f"{100 * tally.equal / tally.cuts:.3f} %"
        closest = f"{min(tally.margins, default=0):.1e}"
        lines.append(
            f"{mode:<14} {tally.answers:>7} {tally.tokens:>7} {tally.cuts:>6} {tally.equal:>6} {share:>9} "
            f"{closest:>13}  {ends}"
        )
    cuts, equal = sum(t.cuts for t in tallies.values()), sum(t.equal for t in tallies.values())
    lines.append(f"{'all':<14} {'':>7} {'':>7} {cuts:>6} {equal:>6} {100 * equal / cuts:>7.3f} %")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.resume", description=__doc__)
    parser.add_argument("--only", action="append", choices=[STOP, *MODES, *SMALL], help="a mode; may be repeated")
    parser.add_argument("--prompts", type=int, default=20, help="chats in each large mode")
    parser.add_argument("--small", type=int, default=4, help="chats in each small mode")
    parser.add_argument("--tokens", type=int, default=24, help="max_tokens of an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--running", type=int, default=32, help="sequences that an engine holds at a time")
    parser.add_argument("--shared", action="store_true", help="let resumes share cached beginnings, as shipped")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    tallies, differences = asyncio.run(measure(args))
    print(table(tallies))
    for one in differences:
        print(f"{one.case}, cut {one.cut}: {one.what} at {one.place}: expected {one.expected}, got {one.got}")
    if args.json:
        figures = {mode: asdict(tally) for mode, tally in tallies.items()}
        args.json.write_text(json.dumps({"modes": figures, "differences": [asdict(d) for d in differences]}, indent=1))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
