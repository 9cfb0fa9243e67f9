"""Terms of use: a Markdown file. A browser that has accepted them keeps their hash in a cookie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from queuechat.errors import Misconfigured

COOKIE = "queuechat-terms"

# Tags are shown and not obeyed, links lead to http, https or mail only, and images would ask other machines.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms as HTML that is safe to show, and the hash of their text: other words must be accepted anew."""

    html: str
    hash: str


def read_terms(path: Path) -> Terms:
    """Raises Misconfigured when the file cannot be read, or says nothing."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"QUEUECHAT_UI_TERMS: {path} cannot be read ({error})") from None
    if not text.strip():
        raise Misconfigured(f"QUEUECHAT_UI_TERMS: {path} says nothing; leave it out, or write the terms into it")
    return Terms(_MARKDOWN.render(text), hashlib.sha256(text.encode()).hexdigest()[:32])
