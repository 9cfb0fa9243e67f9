"""Names of models: Ollama's always have a tag, and the tag of those that were given none is `latest`."""

from __future__ import annotations

_LATEST = ":latest"


def tagged(name: str) -> str:
    """As Ollama's clients show it."""
    return name if ":" in name else name + _LATEST


def untagged(name: str) -> str:
    """What its worker is likely to call it."""
    return name.removesuffix(_LATEST)
