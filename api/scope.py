"""Which models a key may use. The others do not exist in what it is shown, and are refused when it names one."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from api.house import house_of, ticket_of
from queuechat.credentials import Bearer
from queuechat.errors import ModelNotFound, NoWorker
from queuechat.roster import Model
from queuechat.scope import denied, hidden, may_use, unknown


def allowed(bearer: Bearer, models: Sequence[Model]) -> list[Model]:
    """Those of the models that the key may use."""
    return [model for model in models if may_use(bearer, model)]


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
        if known and not may_use(bearer, known):
            raise denied(name) from None
        raise
    except ModelNotFound as error:
        raise unknown(bearer, name, error) from None
    if not may_use(bearer, model):
        raise denied(name)
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
        raise unknown(bearer, name, error) from None
    if not may_use(bearer, model):
        raise hidden(name)
    return model
