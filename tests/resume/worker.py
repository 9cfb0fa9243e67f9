"""As much of a worker as an answer needs: what `workers.consumer` does with a claim, without a queue."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from queuechat.bus import Claim, Item
from queuechat.protocol import Chunk, End, Job, Reason, decode_event
from workers.engines.base import Engine, Finished, Step, Tokens
from workers.prompting import Speech, prompt_of
from workers.running import Generation
from workers.text.named import asked_for
from workers.text.transcript import Transcript


@dataclass(frozen=True)
class Answer:
    """What one worker published: after each of its tokens the text and the hash so far, and its last word."""

    ids: list[int]
    texts: list[str]
    hashes: list[str]
    end: End

    @property
    def text(self) -> str:
        return self.texts[-1] + self.end.text


def answer_of(items: Sequence[Item], end: End, hash: str = "") -> Answer:
    ids: list[int] = []
    texts, hashes = [""], [hash]
    for item in items:
        chunk = decode_event(item.chunk)
        assert isinstance(chunk, Chunk)
        assert item.before == hashes[-1]
        ids += chunk.ids
        texts.append(texts[-1] + chunk.text)
        hashes.append(item.after)
    return Answer(ids, texts, hashes, end)


class Worker:
    """One started engine. `answer` may be asked as often as one likes; what does not fit waits."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.speech = Speech(engine.vocabulary, engine.vocabulary.chat_template or asked_for("plain").template)
        self._epochs = count(1)
        self._room = asyncio.Semaphore(engine.caps.max_running)
        self._held: dict[str, tuple[Generation, asyncio.Future[None]]] = {}
        self._said: dict[str, list[Item]] = defaultdict(list)  # by engine id
        self._reader = asyncio.create_task(self._read())

    def prompt_ids(self, job: Job) -> list[int]:
        return self.speech.ids_of(job)

    def claimed(self, job: Job, delivered: Sequence[int] = (), hash: str = "") -> Generation:
        """The job as this worker holds it when others have delivered these ids."""
        epoch = next(self._epochs)
        claim = Claim(job, "nonce", epoch, len(delivered), hash, 600_000)
        prompt = prompt_of(
            job, f"{job.id}#{epoch}", self.prompt_ids(job), list(delivered), self.speech, self.engine.caps
        )
        transcript = Transcript(self.speech.vocabulary, stop=job.stop, stop_ids=prompt.stop_ids)
        return Generation(claim, prompt, transcript)

    async def answer(self, job: Job, delivered: Sequence[int] = (), hash: str = "") -> Answer:
        async with self._room:
            held = self.claimed(job, delivered, hash)
            if not held.over:
                done = asyncio.get_running_loop().create_future()
                self._held[held.prompt.id] = held, done
                self.engine.admit(held.prompt)
                await done
        end = held.end()
        assert end is not None
        return answer_of(self._said.pop(held.prompt.id, []), end, hash)

    def published(self, job: Job, ids: Sequence[int]) -> Answer:
        """What a worker says whose engine yields these ids, one a step, before its last word."""
        held = self.claimed(job)
        for id in ids:
            held.add([id])
            self._flush(held)
        return answer_of(self._said.pop(held.prompt.id, []), End(Reason.CANCELLED))

    def _flush(self, held: Generation) -> None:
        if item := held.flush():
            self._said[held.prompt.id].append(item)

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await asyncio.to_thread(self.engine.close)

    async def _read(self) -> None:
        try:
            async for step in self.engine.steps():
                self._absorb(step)
        except RuntimeError as error:
            for _, done in self._held.values():
                done.set_exception(error)

    def _absorb(self, step: Step) -> None:
        for event in step:
            if event.id not in self._held:
                continue
            held, done = self._held[event.id]
            if isinstance(event, Tokens):
                held.add(event.ids, event.logprobs)
                self._flush(held)
            else:
                held.finished(_reason(event))
            if held.over:
                del self._held[event.id]
                if isinstance(event, Tokens):
                    self.engine.abort(event.id)
                done.set_result(None)


def _reason(event: Finished) -> Reason:
    if event.reason == "error":
        raise RuntimeError(event.error)
    return Reason(event.reason)
