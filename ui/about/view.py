"""What the About tab says, as HTML. Names of models are somebody else's, so they are escaped."""

from __future__ import annotations

from html import escape
from urllib.parse import urlsplit

from queuechat import __version__
from queuechat.roster import Census, Model, capabilities

_RESUME = {
    "exact": "an answer that lost its worker goes on token by token as it would have",
    "distribution": "an answer that lost its worker goes on where it was, what follows is drawn anew",
    "none": "an answer that lost its worker begins again",
}
_CAN = {
    "completion": "text",
    "json_schema": "JSON Schema",
    "fim": "fill in the middle",
    "vision": "images",
}


def api_beside(host: str, port: int) -> str:
    """The API's address where it runs on the machine of this page, which the browser calls `host` (with its port)."""
    name = urlsplit(f"//{host}").hostname or "127.0.0.1"
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def page(census: Census, api: str, *, record_chats: bool) -> str:
    """The whole tab; `api` is where the API is."""
    parts = [_what(), _models(census), _api(escape(api)), _records(record_chats)]
    return f'<div class="qc-page qc-about">{"".join(parts)}</div>'


def _what() -> str:
    return (
        f"<header><h1>About</h1><p>queuechat {escape(__version__)}</p></header>"
        "<section><p>This server has no controller. What you ask is put on the queue of a model; workers with a free "
        "place take it from there, and the answer is written down token by token as it comes. When a worker dies in "
        "mid-answer another one goes on with it. The <b>Queues</b> tab shows all of that as it happens.</p></section>"
    )


def _models(census: Census) -> str:
    models = sorted(census.live, key=lambda model: model.card.name)
    body = "".join(map(_model, models)) or (
        "<p class='faint'>None is served now. Start one: <code>queuechat worker --model smollm2</code></p>"
    )
    return f"<section><h2>Models</h2>{body}</section>"


def _model(model: Model) -> str:
    card = model.card
    facts = [
        ("also called", ", ".join(card.aliases)),
        ("engine", card.engine),
        ("weights", " ".join(filter(None, [card.source, card.quantization]))),
        ("adapter of", card.parent),
        ("context", f"{card.context_length:,} tokens" if card.context_length else ""),
        ("can", ", ".join(_CAN.get(name, name) for name in capabilities(card))),
        ("if a worker dies", _RESUME.get(card.resume, "")),
    ]
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value)
    return f"<article><h3>{escape(card.name)}</h3><dl>{rows}</dl></article>"


def _api(api: str) -> str:
    return (
        "<section><h2>For programs</h2><p>The API speaks OpenAI's, Anthropic's and (when it is switched on) Ollama's "
        "protocols. Where it runs on the machine of this page with its settings, it is at "
        f"<code>{api}/v1</code>, and describes itself at "
        f'<a href="{api}/docs" target="_blank" rel="noopener noreferrer">{api}/docs</a>.</p></section>'
    )


def _records(record_chats: bool) -> str:
    chats = (
        "<b>Conversations of the Chat tab are written to the log as well</b>: the operator of this server has switched "
        "that on."
        if record_chats
        else "Conversations of the Chat tab are not written to any log."
    )
    return (
        "<section><h2>What is kept</h2><ul>"
        "<li>Conversations of the Chat tab stay in this browser, until you clear them. The server forgets a request "
        "and its answer a quarter of an hour after its end.</li>"
        "<li><b>What is asked and answered in Arena and Side by side is logged on this server</b>, voted on or not, "
        "with a pseudonym of who asked: that is what the leaderboard is made of.</li>"
        f"<li>{chats}</li>"
        "<li>Of every answer its length and times are counted, never its words.</li>"
        "<li>This page loads nothing from any other server.</li></ul></section>"
    )
