"""Who meets whom. Pure: the same models, votes and random numbers give the same pair.

Without a file every pair of live models is as likely as any other. A file (TOML, `QUEUECHAT_ARENA_PAIRS`) changes that:

    fewer_votes_first = true         # a model with a tenth of the votes is drawn ten times as often
    leave_out = ["*-base"]           # never drawn

    [weights]                        # how often, relative to the 1 of models that are not named; 0: never
    "new-*" = 5

    [targets]                        # half of its rivals are of these
    "new-*" = ["smollm2", "qwen*"]

    [only]                           # all of its rivals are of these
    "tiny-*" = ["tiny-*"]

Names may have wildcards; of several that fit, the first counts.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from queuechat.errors import Misconfigured

T = TypeVar("T")
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Pairs(BaseModel):
    """The rules of a file; without one, none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fewer_votes_first: bool = False
    leave_out: list[str] = Field(default_factory=list)
    weights: dict[str, Weight] = Field(default_factory=dict)
    targets: dict[str, list[str]] = Field(default_factory=dict)
    only: dict[str, list[str]] = Field(default_factory=dict)


def read_pairs(file: Path | None) -> Pairs:
    """The rules in a file, or none.

    Raises:
        Misconfigured: it cannot be read, is no TOML, or has a value that means nothing.
    """
    if file is None:
        return Pairs()
    try:
        return Pairs.model_validate(tomllib.loads(file.read_text()))
    except OSError as error:
        raise Misconfigured(f"QUEUECHAT_ARENA_PAIRS: cannot read {file} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"QUEUECHAT_ARENA_PAIRS: {file} is not TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Misconfigured(f"QUEUECHAT_ARENA_PAIRS: in {file}, {wrong}") from None


def draw_pair(
    models: Sequence[str], pairs: Pairs, rng: random.Random, votes: Mapping[str, int] | None = None
) -> tuple[str, str] | None:
    """Two different models, in the order of their sides; None when no two of them may meet."""
    admitted = [name for name in sorted(set(models)) if not _fits(name, pairs.leave_out)]
    wanted = {name: _weight(name, pairs, votes or {}) for name in admitted}
    rivals = {name: _rivals(name, wanted, pairs) for name in admitted if wanted[name]}
    first = _draw({name: wanted[name] for name, others in rivals.items() if others}, rng)
    if first is None:
        return None
    second = _draw(rivals[first], rng)
    assert second is not None
    return (first, second) if rng.random() < 0.5 else (second, first)


def _weight(name: str, pairs: Pairs, votes: Mapping[str, int]) -> float:
    weight = _first_fit(name, pairs.weights, 1.0)
    return weight / (1 + votes.get(name, 0)) if pairs.fewer_votes_first else weight


def _rivals(name: str, wanted: Mapping[str, float], pairs: Pairs) -> dict[str, float]:
    """The weight of each model as a rival of `name`; those that cannot be drawn are left out."""
    only = _first_fit(name, pairs.only, ["*"])
    weights = {other: w for other, w in wanted.items() if other != name and w and _fits(other, only)}
    aims = _first_fit(name, pairs.targets, [])
    aimed = [other for other in weights if _fits(other, aims)]
    if not aimed or len(aimed) == len(weights):
        return weights
    ours = sum(weights[other] for other in aimed)
    theirs = sum(weights.values()) - ours
    return {other: w / ours if other in aimed else w / theirs for other, w in weights.items()}


def _draw(weights: Mapping[str, float], rng: random.Random) -> str | None:
    return rng.choices(list(weights), list(weights.values()))[0] if weights else None


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _first_fit(name: str, table: Mapping[str, T], otherwise: T) -> T:
    return next((value for pattern, value in table.items() if fnmatchcase(name, pattern)), otherwise)
