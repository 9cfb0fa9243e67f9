"""Battles that were voted on, in the form of FastChat's clean_battle JSON: an array with an object for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from queuechat.disk import write_whole
from queuechat.errors import InvalidRequest


class Winner(StrEnum):
    """The vote."""

    A = "model_a"
    B = "model_b"
    TIE = "tie"
    BOTH_BAD = "tie (bothbad)"


@dataclass(frozen=True, slots=True)
class CleanBattle:
    """One vote. `tstamp` is in Unix seconds, `anony` says that the voter did not know the names.

    Conversations are lists of {"role", "content"} with, from FastChat, "num_tokens"; files of its mode `simple` have
    none. `conv_metadata` holds what was counted in them, `more` all fields that are not read here.
    """

    model_a: str
    model_b: str
    winner: Winner
    judge: str
    anony: bool
    tstamp: float
    language: str = "unknown"
    turn: int = 1
    question_id: str = ""
    conversation_a: tuple[Mapping[str, Any], ...] = ()
    conversation_b: tuple[Mapping[str, Any], ...] = ()
    conv_metadata: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Points of model A: 1, 0.5 for either tie, 0."""
        return {Winner.A: 1.0, Winner.B: 0.0}.get(self.winner, 0.5)


def read_battles(paths: Iterable[Path]) -> list[CleanBattle]:
    """All battles of these files, oldest first.

    Raises:
        InvalidRequest: a file cannot be read, is no array of battles, or a row is wrong; file and row are named.
    """
    battles = [battle for path in paths for battle in _read_file(path)]
    return sorted(battles, key=lambda battle: battle.tstamp)


def write_battles(path: Path, battles: Iterable[CleanBattle]) -> None:
    """An array that FastChat's tools read."""
    write_whole(path, orjson.dumps([row_of(battle) for battle in battles], option=orjson.OPT_INDENT_2))


def row_of(battle: CleanBattle) -> dict[str, Any]:
    """FastChat's object; what was never there (conversations, metadata) is left out."""
    row = {name: getattr(battle, name) for name in _NAMES if getattr(battle, name) or name in _ALWAYS}
    return {**row, **battle.more}


def battle_of(row: Any) -> CleanBattle:
    """The battle of FastChat's object.

    Raises:
        InvalidRequest: a field is missing or wrong; `param` names it.
    """
    if not isinstance(row, dict):
        raise InvalidRequest("it is not an object")
    given = {name: _value(row, name) for name in _NAMES if row.get(name) is not None}
    if missing := [name for name in _REQUIRED if name not in given]:
        raise InvalidRequest(f"{missing[0]} is missing", param=missing[0])
    more = {name: value for name, value in row.items() if name not in given}
    return CleanBattle(**given, more=more)


def _read_file(path: Path) -> list[CleanBattle]:
    try:
        rows = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or error}", param="battles") from None
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"{path} is not JSON ({error}); a clean_battle file is one array", param="battles"
        ) from None
    if not isinstance(rows, list):
        raise InvalidRequest(f"{path}: a clean_battle file is an array of battles", param="battles")
    return [_row(path, number, row) for number, row in enumerate(rows, 1)]


def _row(path: Path, number: int, row: Any) -> CleanBattle:
    try:
        return battle_of(row)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}, row {number}: {error.message}", param=error.param or "battles") from None


def _value(row: Mapping[str, Any], name: str) -> Any:
    value = row[name]
    if name in _TEXTS:
        # Ids of voters are numbers in some of the published files.
        return _checked(name, str(value), isinstance(value, (str, int)) and value != "", "a text that is not empty")
    if name == "winner":
        return Winner(_checked(name, value, value in set(Winner), f"one of {', '.join(Winner)}"))
    if name == "anony":
        return _checked(name, value, isinstance(value, bool), "true or false")
    if name == "turn":
        return _checked(name, value, _is_number(value) and value >= 0, "a number")
    if name == "tstamp":
        return _checked(name, value, _is_number(value), "a number of seconds")
    if name == "conv_metadata":
        return _checked(name, value, isinstance(value, dict), "an object")
    return tuple(_checked(name, value, _is_conversation(value), "a list of objects with role and content"))


def _checked(name: str, value: Any, good: bool, wanted: str) -> Any:
    if not good:
        raise InvalidRequest(f"{name} must be {wanted}, not {str(value)[:60]!r}", param=name)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(turn, dict) and "role" in turn for turn in value)


_NAMES = tuple(one.name for one in fields(CleanBattle) if one.name != "more")
_REQUIRED = ("model_a", "model_b", "winner", "judge", "anony", "tstamp")
_ALWAYS = {*_REQUIRED, "language", "turn"}
_TEXTS = {"model_a", "model_b", "judge", "language", "question_id"}
