"""What a worker tells of the models that it serves."""

from __future__ import annotations

import os

from queuechat.protocol import ModelCard
from workers.models import Spec
from workers.process import Status


def model_card(spec: Spec, status: Status, name: str, *, created: int) -> ModelCard:
    """Of one of its names: its model's own, or an adapter's on it. `created` is in seconds since the epoch."""
    adapter = (spec.lora or {}).get(name)
    return ModelCard(
        name=name,
        aliases=[] if adapter else spec.aliases,
        parent=spec.model if adapter else "",
        context_length=status.context_length,
        engine=spec.engine,
        tool_format=status.tool_format,
        reasoning=status.reasoning,
        source=os.path.basename(adapter or spec.source),
        embeds=status.embeds,
        resume=status.resume,
        created=created,
        grammars=status.grammars,
        logprobs=status.logprobs,
        **status.abilities,
    )
