"""A conversation as the page keeps it, and as a model reads it.

The page keeps `Exchange`s. What people see beside the words (footers, notices, thoughts) lies in fields of its own, so
the history that a model reads is made of questions, what was attached to them, and answers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

_PICTURE = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}")
_FENCES = re.compile(r"^`{3,}", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text that was attached under a name."""

    name: str
    text: str

    @property
    def size(self) -> int:
        """Bytes of it in UTF-8."""
        return len(self.text.encode())

    @property
    def quoted(self) -> str:
        """As a model reads it: the name, then the text between fences that are longer than any within."""
        longest = max(map(len, _FENCES.findall(self.text)), default=2)
        fence = "`" * (longest + 1)
        return f"{self.name}:\n{fence}\n{self.text.rstrip()}\n{fence}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and what came of it. `images` are data: URLs, in the order in which they were attached."""

    question: str
    answer: str = ""
    footer: str = ""
    notice: str = ""
    thoughts: str = ""
    model: str = ""
    images: tuple[str, ...] = ()
    files: tuple[TextFile, ...] = ()

    @property
    def asked(self) -> Exchange:
        """The question alone, as it is asked again."""
        return Exchange(self.question, images=self.images, files=self.files)

    @property
    def read(self) -> str:
        """The words that a model reads: the files, then the question."""
        return "\n\n".join([*(file.quoted for file in self.files), *([self.question] if self.question else [])])


@dataclass(frozen=True, slots=True)
class Options:
    """What the page's controls say."""

    model: str
    system: str = ""
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    seed: int | None = None
    stop: str = ""


_WORDS = [field.name for field in fields(Exchange) if field.type == "str"]


def restore(stored: object) -> list[Exchange]:
    """The conversation a browser kept; what is not one is left out."""
    rows = stored if isinstance(stored, list) else []
    return [_exchange(row) for row in rows if isinstance(row, dict) and isinstance(row.get("question"), str)]


def _exchange(row: dict[str, Any]) -> Exchange:
    words = {name: row[name] for name in _WORDS if isinstance(row.get(name), str)}
    images = [url for url in _listed(row, "images") if isinstance(url, str) and _PICTURE.fullmatch(url)]
    files = [TextFile(**file) for file in _listed(row, "files") if _is_file(file)]
    return Exchange(**words, images=tuple(images), files=tuple(files))


def _listed(row: dict[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    return value if isinstance(value, list) else []


def _is_file(value: Any) -> bool:
    return (
        isinstance(value, dict) and value.keys() == {"name", "text"} and all(isinstance(v, str) for v in value.values())
    )


def store(conversation: Iterable[Exchange]) -> list[dict[str, Any]]:
    """As JSON; what is empty is left out."""
    return [{"question": exchange.question} | _filled(asdict(exchange)) for exchange in conversation]


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items() if value}


def history(conversation: Sequence[Exchange], system: str) -> list[dict[str, Any]]:
    """The messages that a model reads, in OpenAI's form. Questions that were never answered are left out, except the
    last."""
    messages = [_message("system", system.strip())] if system.strip() else []
    for exchange in conversation[:-1]:
        if exchange.answer:
            messages += [_asked(exchange), _message("assistant", exchange.answer)]
    return [*messages, *(_asked(last) for last in conversation[-1:])]


def _asked(exchange: Exchange) -> dict[str, Any]:
    if not exchange.images:
        return _message("user", exchange.read)
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in exchange.images]
    return _message("user", [*parts, {"type": "text", "text": exchange.read}] if exchange.read else parts)


def _message(role: str, content: str | list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": content}
