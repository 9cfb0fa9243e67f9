"""A moderator of our own: a guard model (Llama Guard and its like) that a worker serves, asked through the queue.

Such a model is a chat model whose template asks about the last message of the conversation that it is given. Its
answer is "safe", or "unsafe" and a line of categories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from queuechat.client import Client, failure_of
from queuechat.errors import QueuechatError
from queuechat.protocol import Chunk, End, Job, ModelCard, Sampling, new_id
from queuechat.roster import Roster
from ui.gate.passages import Passage
from ui.gate.refusals import ModerationUnavailable

_WORDS = 64  # tokens are enough for a verdict with all of its categories
_CONTEXT = 4096  # tokens, of a model that does not say
_CHARACTERS = 2  # of a token at least, as far as what came before is to leave room


class Guard:
    """Judges each message with those before it; a system prompt as if somebody had asked it."""

    def __init__(self, client: Client, roster: Roster, model: str, *, patience_s: float):
        self._client, self._roster, self._model, self._patience_s = client, roster, model, patience_s

    async def judge(self, passages: Sequence[Passage]) -> set[str]:
        try:
            card = (await self._roster.resolve(self._model)).card
            if not card.vision and any(passage.images for passage in passages):
                raise ModerationUnavailable(f"the guard model {card.name} sees no images")
            said = await asyncio.gather(*(self._ask(self._job(passage, card)) for passage in passages))
        except QueuechatError as error:
            raise ModerationUnavailable(error.message) from error
        return set().union(*map(verdict_of, said))

    def _job(self, passage: Passage, card: ModelCard) -> Job:
        told = recent(passage, (card.context_length or _CONTEXT) * _CHARACTERS)
        return Job(
            id=new_id(),
            model=card.name,
            messages=[_message(one) for one in told],
            images=[image for one in told for image in one.images],
            sampling=Sampling(temperature=0),
            max_tokens=_WORDS,
            deadline_s=self._patience_s,
        )

    async def _ask(self, job: Job) -> str:
        text = ""
        async for event in self._client.ask(job):
            if isinstance(event, Chunk | End):
                text += event.text
            if isinstance(event, End) and (failure := failure_of(event)):
                raise failure
        return text

    async def close(self) -> None:
        """Client and roster are others'."""


def recent(passage: Passage, room: int) -> list[Passage]:
    """A message and those before it that fit into `room` characters, beginning with a question. A system prompt
    stands alone."""
    if passage.role == "system":
        return [passage]
    told: list[Passage] = []
    for one in reversed(passage.thread):
        room -= len(one.text)
        if one.role == "system" or (told and room < 0):
            break
        told.insert(0, one)
    while len(told) > 1 and told[0].role == "assistant":
        told.pop(0)
    return told


def _message(passage: Passage) -> dict[str, Any]:
    role = "assistant" if passage.role == "assistant" else "user"
    if not passage.images:
        return {"role": role, "content": passage.text}
    pictures = [{"type": "image"} for _ in passage.images]
    return {"role": role, "content": [*pictures, {"type": "text", "text": passage.text}]}


def verdict_of(said: str) -> set[str]:
    """The categories that a guard model names; none for "safe".

    Raises:
        ModerationUnavailable: it says neither.
    """
    lines = said.strip().splitlines()
    first = lines[0].strip().lower() if lines else ""
    if first == "safe":
        return set()
    if first != "unsafe":
        raise ModerationUnavailable("the guard model says neither safe nor unsafe: is it a guard model?")
    return {name.strip() for line in lines[1:2] for name in line.split(",") if name.strip()} or {"unsafe"}
