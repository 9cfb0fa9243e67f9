"""What the words of a command line mean: models by name or alias, requests by any form of their id."""

from __future__ import annotations

from typing import Annotated

import typer

from queuechat.bus import Bus
from queuechat.roster import known_models, take_census

ModelFlag = Annotated[str | None, typer.Option("--model", "-m", help="Only of this model. [default: all]")]
_PREFIXES = ("chatcmpl-", "cmpl-", "msg_")


def bare(id: str) -> str:
    """The id of a job: what the API puts before it is taken off."""
    for prefix in _PREFIXES:
        id = id.removeprefix(prefix)
    return id


async def models_named(bus: Bus, name: str | None) -> list[str]:
    """All models that ever had a worker, or the one that is meant.

    Letters are kept for longer than a model without workers is listed, so the census is not asked alone.

    Raises:
        ModelNotFound: there is none of that name or alias.
    """
    known = await known_models(bus)
    if name is None or name in known:
        return known if name is None else [name]
    census = await take_census(bus)
    return [(census.find(name) or census.resolve(name)).card.name]
