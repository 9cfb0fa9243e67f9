"""Which battles a table is made of: those that come with queuechat, one for each language, and your own from a file."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from queuechat.errors import InvalidRequest
from queuechat.leaderboard.battles import CleanBattle, Winner
from queuechat.leaderboard.measures import has_code, prompt_tokens, prompts

LANGUAGE_VOTES = 100  #: a language with so many votes has a table without being asked for

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Category:
    """All conditions that are given must hold. Tokens are of all prompts of the conversation; `models` are those that
    both sides must be among; a battle of which a condition cannot be told (no conversation was kept) is not in it."""

    name: str
    title: str = ""
    languages: tuple[str, ...] = ()
    min_prompt_tokens: int = 0
    max_prompt_tokens: int | None = None
    min_turns: int = 0
    prompt: re.Pattern[str] | None = None
    models: tuple[str, ...] = ()
    code: bool | None = None
    exclude_ties: bool = False

    def holds(self, battle: CleanBattle) -> bool:
        return (
            not (self.exclude_ties and battle.winner in (Winner.TIE, Winner.BOTH_BAD))
            and (not self.languages or battle.language.casefold() in self.languages)
            and (not self.models or {battle.model_a, battle.model_b} <= set(self.models))
            and battle.turn >= self.min_turns
            and self._fits(battle)
            and (self.code is None or has_code(battle) is self.code)
            and (self.prompt is None or any(map(self.prompt.search, prompts(battle))))
        )

    def _fits(self, battle: CleanBattle) -> bool:
        if not self.min_prompt_tokens and self.max_prompt_tokens is None:
            return True
        tokens = prompt_tokens(battle)
        most = self.max_prompt_tokens
        return tokens is not None and tokens >= self.min_prompt_tokens and (most is None or tokens <= most)


ALL = Category("all", "All votes")
BUILT_IN = (
    ALL,
    Category("no-ties", "Without ties", exclude_ties=True),
    Category("long-prompt", "Long prompts", min_prompt_tokens=500),
    Category("code", "Code", code=True),
    Category("multi-turn", "Several turns", min_turns=2),
)


def read_categories(path: Path) -> list[Category]:
    """The categories of a TOML file: a table for each, named by it, with the conditions of `Category` as keys.

    Raises:
        InvalidRequest: the file cannot be read, or a key or value is not known; file, category and key are named.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or error}", param="categories") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not TOML: {error}", param="categories") from None
    return [_category(path, name, table) for name, table in tables.items()]


def choose(wanted: Sequence[str], own: Sequence[Category], battles: Sequence[CleanBattle]) -> list[Category]:
    """The categories of these names, or (none given) all of those that come with queuechat or are `own`, and of
    languages with enough votes.

    Raises:
        InvalidRequest: there is none of a name; the message lists them.
    """
    votes = Counter(battle.language.casefold() for battle in battles)
    tongues = {name: _language(name) for name, _ in votes.most_common() if name != "unknown"}
    known = {one.name: one for one in (*tongues.values(), *BUILT_IN, *own)}
    if unknown := [name for name in wanted if name not in known]:
        names = ", ".join([*(one.name for one in (*BUILT_IN, *own)), *tongues])
        raise InvalidRequest(f"there is no category {unknown[0]!r}; there are {names}", param="category")
    if wanted:
        return [known[name] for name in dict.fromkeys(wanted)]
    spoken = [tongues[name] for name in tongues if votes[name] >= LANGUAGE_VOTES]
    return list({one.name: known[one.name] for one in (*BUILT_IN, *own, *spoken)}.values())


def _language(name: str) -> Category:
    return Category(name, name.title(), languages=(name,))


def _category(path: Path, name: str, table: Any) -> Category:
    where = f"{path}, category {name!r}"
    if not isinstance(table, dict) or not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{where}: a category is a table named by 1 to 40 of a-z, 0-9, - and _", param="categories"
        )
    if unknown := set(table) - set(_READERS):
        raise InvalidRequest(f"{where}: {sorted(unknown)[0]} is none of {', '.join(_READERS)}", param="categories")
    return Category(name, **{"title": name.title(), **_read(where, table)})


def _read(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for key, value in table.items():
        try:
            made[key] = _READERS[key](value)
        except (ValueError, TypeError, re.error) as error:
            raise InvalidRequest(f"{where}: {key} {error}", param="categories") from None
    return made


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text")
    return value


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of texts")
    return tuple(_text(word) for word in value)


def _languages(value: Any) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _words(value))


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("must be a whole number from 0 on")
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _pattern(value: Any) -> re.Pattern[str]:
    try:
        return re.compile(_text(value))
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "title": _text,
    "languages": _languages,
    "min_prompt_tokens": _count,
    "max_prompt_tokens": _count,
    "min_turns": _count,
    "prompt": _pattern,
    "models": _words,
    "code": _switch,
    "exclude_ties": _switch,
}


def in_category(battles: Iterable[CleanBattle], category: Category) -> list[CleanBattle]:
    """Those of the category, in their order."""
    return [battle for battle in battles if category.holds(battle)]
