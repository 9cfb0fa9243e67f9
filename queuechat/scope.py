"""Which models a key may use, and what it is told of the others: that they are not for it, never what they are."""

from __future__ import annotations

from queuechat.credentials import Bearer
from queuechat.errors import ModelNotFound, PermissionDenied
from queuechat.roster import Model


def may_use(bearer: Bearer, model: Model) -> bool:
    """Whether its name or one of its aliases is in the scope of the key."""
    return bearer.may_use((model.card.name, *model.card.aliases))


def unknown(bearer: Bearer, name: str, error: ModelNotFound) -> ModelNotFound:
    """The usual message names what there is; a key with a scope is not told."""
    return hidden(name) if bearer.models else error


def hidden(name: str) -> ModelNotFound:
    """There is none of that name, as far as the key is told."""
    return ModelNotFound(
        f"The model {name!r} does not exist, or not for this API key; GET /v1/models lists what does", param="model"
    )


def denied(name: str) -> PermissionDenied:
    """There is one, but not for the key."""
    return PermissionDenied(
        f"this API key may not use the model {name!r}; GET /v1/models lists those that it may", param="model"
    )
