"""A claim becomes something held: prompt rendered and counted, what earlier owners delivered read back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from queuechat.bus import Bus, Claim
from queuechat.errors import BusUnavailable, EngineDied, QueuechatError, StreamDiverged
from queuechat.failpoints import failpoint
from queuechat.protocol import Chunk, Job, PrefixHash, decode_event
from workers.engines.base import Caps
from workers.prompting import Speech, is_short, prompt_of
from workers.relaying import Relay, relayed_prompt
from workers.running import Embedding, Generation, Reading, check_inputs
from workers.text.transcript import Transcript

log = logging.getLogger(__name__)

Held = Generation | Embedding | Reading
T = TypeVar("T")

_SHORT = 2000  # characters that are tokenised faster than a thread is woken; longer prompts must not hold up the others


class Intake:
    """Prepares claims. What can never work comes back held and already failed, so that it ends like any other."""

    def __init__(self, bus: Bus, speech: Speech, caps: Caps, model: str):
        self._bus, self._speech, self._caps, self._model = bus, speech, caps, model
        self.busy = 0  #: claims that are rendered and tokenised at the moment

    async def take(self, claim: Claim) -> Held:
        if claim.job.reading:
            return Reading(claim)
        try:
            return await (self._embedding(claim) if claim.job.inputs is not None else self._generation(claim))
        except (BusUnavailable, EngineDied):
            raise
        except QueuechatError as error:
            return _failed(claim, error)
        except Exception as error:  # what one request holds must never end the worker of the others
            log.exception("request %s cannot be prepared", claim.job.id)
            return _failed(claim, QueuechatError(f"the worker cannot prepare this request ({type(error).__name__})"))

    async def _generation(self, claim: Claim) -> Generation:
        job = claim.job
        if isinstance(self._speech, Relay):
            return await self._relayed(claim)
        sight = await self._in_thread(self._speech.see, job) if job.images else None
        prompt_ids = list(sight.ids) if sight else await self._prompt_ids(job)
        prefix_ids = await self._delivered(claim) if claim.offset else []
        # The engine may still be busy ending an earlier epoch of the same job: its events must not be taken for ours.
        prompt = prompt_of(job, f"{job.id}#{claim.epoch}", prompt_ids, prefix_ids, self._speech, self._caps)
        prompt = replace(prompt, sight=sight)
        opening = self._speech.opening(job, prompt_ids)
        decoder = self._speech.decoder(job)
        _, ends = self._speech.ends(job)
        transcript = Transcript(decoder, stop=job.stop, ends=ends, stop_ids=prompt.stop_ids, opening=opening)
        return Generation(claim, prompt, transcript)

    async def _relayed(self, claim: Claim) -> Generation:
        prefix_ids = await self._delivered(claim) if claim.offset else []
        job = claim.job
        prompt = relayed_prompt(job, f"{job.id}#{claim.epoch}", prefix_ids, self._caps)
        # Thoughts and arguments of calls stand in the text of a chat, and only the provider looks past them.
        stop = job.stop if job.messages is None else ()
        return Generation(claim, prompt, Transcript(self._speech.vocabulary, stop=stop))

    async def _prompt_ids(self, job: Job) -> list[int]:
        if not self._speech.vocabulary.waits and is_short(job, _SHORT):
            return self._speech.ids_of(job)
        return await self._in_thread(self._speech.ids_of, job)

    async def _delivered(self, claim: Claim) -> list[int]:
        """The ids before `claim.offset`; a former owner may still be writing, what it adds is not ours to read."""
        failpoint("log.before")
        ids: list[int] = []
        while len(ids) < claim.offset:
            entries = await self._bus.read_log(self._model, claim.job.id, len(ids))
            chunks = [event for entry in entries if isinstance(event := decode_event(entry.raw), Chunk)]
            if not chunks:
                break
            ids += [id for chunk in chunks for id in chunk.ids]
        ids = ids[: claim.offset]
        if PrefixHash().update(ids) != claim.hash:
            raise StreamDiverged("the tokens delivered so far are not in Redis any more: the answer cannot go on")
        return ids

    async def _embedding(self, claim: Claim) -> Embedding:
        return Embedding(claim, await self._in_thread(self._inputs, claim.job))

    async def _in_thread(self, work: Callable[[Job], T], job: Job) -> T:
        self.busy += 1
        try:
            return await asyncio.to_thread(work, job)
        finally:
            self.busy -= 1

    def _inputs(self, job: Job) -> list[list[int]]:
        encode = self._speech.vocabulary.encode
        inputs = [encode(i, add_special=True) if isinstance(i, str) else list(i) for i in job.inputs or []]
        check_inputs(inputs, self._caps.context_length)
        return inputs


def _failed(claim: Claim, error: QueuechatError) -> Embedding:
    held = Embedding(claim, [])
    held.fail(error)
    return held
