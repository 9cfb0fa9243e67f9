"""The chat format of a model: its own template, one that is asked for, or a named one that its name tells.

Models from before templates came with tokenizers have none. `templates/` holds the formats that their authors document,
and `templates/templates.toml` what else is known of each: the words that end a turn, and which models speak it.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from queuechat.errors import Misconfigured
from workers.text.template import compiled

log = logging.getLogger(__name__)

NONE = "none"  #: said by who wants no template, not even the model's own

_FOLDER = files("workers.text") / "templates"
_HUB = "models--"  # how the Hub's cache names the folder of a repository


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """A Jinja source ("" for none), and the words that end an answer where no end of the vocabulary does."""

    template: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """A format that comes with queuechat. `models` are patterns of model names, `owners` is for people."""

    name: str
    owners: str
    stop: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def format(self) -> ChatFormat:
        return ChatFormat((_FOLDER / f"{self.name}.jinja").read_text("utf-8"), self.stop)


def chat_format(asked: str | None, own: str | None, source: str) -> ChatFormat:
    """The format in force.

    Args:
        asked: what `--chat-template` says.
        own: the template that came with the model.
        source: folder, file or Hub id of the model.

    Raises:
        Misconfigured: `asked` is no name, no readable file and no valid Jinja.
    """
    if asked is not None:
        return ChatFormat() if asked == NONE else asked_for(asked)
    if own:
        return ChatFormat(own)
    found = told_by(source)
    if found is None:
        return ChatFormat()
    log.info(
        "%s has no chat template; its name tells %r, which is used (--chat-template says otherwise)", source, found.name
    )
    return found.format


def asked_for(spec: str) -> ChatFormat:
    """What `--chat-template` names: one of `named()`, a file, or a template itself.

    Raises:
        Misconfigured: none of these; the message lists the names, a close one first.
    """
    if found := _by_name(spec):
        return found.format
    source = spec if "{{" in spec or "{%" in spec else _read(spec)
    compiled(source)
    return ChatFormat(source)


@cache
def named() -> tuple[Named, ...]:
    """The formats that come with queuechat, by name."""
    table = tomllib.loads((_FOLDER / "templates.toml").read_text("utf-8"))
    return tuple(
        Named(name, row["for"], *(tuple(row.get(key, ())) for key in ("stop", "models", "aliases")))
        for name, row in sorted(table.items())
    )


def told_by(source: str) -> Named | None:
    """The format that the name of a model tells: that of its folder, file or repository, else the one that its
    config.json remembers. None when none does, or two do."""
    for name in (_own_name(source), _remembered(source)):
        found = [one for one in named() if any(re.match(model, name, re.IGNORECASE) for model in one.models)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _own_name(source: str) -> str:
    parts = Path(source).parts
    cached = [part for part in parts if part.startswith(_HUB)]  # what lies in there is named by a hash
    return cached[-1].rsplit("--", 1)[-1] if cached else Path(source).name


def _remembered(source: str) -> str:
    try:
        config = json.loads((Path(source) / "config.json").read_text("utf-8"))
        return Path(config["_name_or_path"]).name
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _by_name(spec: str) -> Named | None:
    return next((one for one in named() if _plain(spec) in map(_plain, (one.name, *one.aliases))), None)


def _plain(name: str) -> str:
    """People write llama-2, llama2 and Llama_2."""
    return re.sub(r"[-_. ]", "", name).lower()


def _read(spec: str) -> str:
    try:
        return Path(spec).expanduser().read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        known = [one.name for one in named()]
        close = difflib.get_close_matches(spec.lower(), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise Misconfigured(
            f"--chat-template {spec!r} is no name of a template and no readable file ({reason}): {hint}the names are "
            f"{', '.join(known)}; {NONE} is for no template"
        ) from error
