"""Which models a key may use. The others do not exist in what it is shown, and are refused when it names one."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from api.house import house_of, ticket_of
from queuechat.credentials import Bearer
from queuechat.errors import ModelNotFound, NoWorker, PermissionDenied
from queuechat.roster import Model


def allowed(bearer: Bearer, models: Sequence[Model]) -> list[Model]:
    """Those of the models that the key may use."""
    return [model for model in models if _may(bearer, model)]


async def model_to_use(request: Request, name: str) -> Model:
    """The live model of that name or alias.

    Raises:
        PermissionDenied: there is one, but not for this key.
        ModelNotFound, NoWorker: nobody serves it.
    """
    bearer, roster = ticket_of(request).bearer, house_of(request).roster
    try:
        model = await roster.resolve(name)
    except NoWorker:
        known = roster.census.find(name)
        if known and not _may(bearer, known):
            raise _denied(name) from None
        raise
    except ModelNotFound as error:
        raise _unknown(bearer, name, error) from None
    if not _may(bearer, model):
        raise _denied(name)
    return model


async def model_to_show(request: Request, name: str) -> Model:
    """The model of that name or alias, whether or not anybody serves it now.

    Raises:
        ModelNotFound: there is none that this key may use.
    """
    bearer, roster = ticket_of(request).bearer, house_of(request).roster
    try:
        model = roster.census.find(name) or (await roster.refresh()).find(name) or await roster.resolve(name)
    except ModelNotFound as error:
        raise _unknown(bearer, name, error) from None
    if not _may(bearer, model):
        raise _hidden(name)
    return model


def _may(bearer: Bearer, model: Model) -> bool:
    return bearer.may_use((model.card.name, *model.card.aliases))


def _unknown(bearer: Bearer, name: str, error: ModelNotFound) -> ModelNotFound:
    """The usual message names what there is; a key with a scope is not told."""
    return _hidden(name) if bearer.models else error


def _hidden(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"The model {name!r} does not exist, or not for this API key; GET /v1/models lists what does", param="model"
    )


def _denied(name: str) -> PermissionDenied:
    return PermissionDenied(
        f"this API key may not use the model {name!r}; GET /v1/models lists those that it may", param="model"
    )
