"""Models that a provider elsewhere serves: requests are passed on, and what comes back is this engine's answer.

Its ids are the bytes of the text, in which thoughts and calls are marked (`queuechat.dialects.speech.relayed`), so that
log, offsets, stop strings and readers are as of any model; what is charged is what the provider counted. Another try is
made as long as nothing was delivered, or where the answer can be continued: what was delivered is never contradicted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import import_module

from queuechat.dialects.order import BYTES, about
from queuechat.dialects.speech import ContentDelta, Part
from queuechat.dialects.speech.relayed import Marker, is_marked
from queuechat.elsewhere import ProviderFailed
from queuechat.errors import EngineDied, InvalidRequest, QueuechatError, UnsupportedParameter
from queuechat.protocol import Job
from workers.endpoints import Endpoint
from workers.engines.base import Caps, Finished, Prompt, Step, Tokens, Usage, Vocabulary, refuse_beyond, refuse_unknown
from workers.engines.byte_vocabulary import SIZE, ByteVocabulary
from workers.engines.remote_pace import Pace
from workers.engines.remote_provider import Closing, Provider, all_given
from workers.engines.remote_trouble import PATIENCE_S, BrokenOff, Hitch, judged, pause_s

log = logging.getLogger(__name__)

DEFAULT_RUNNING = 32
_PULSE_S = 1.0
_PROVIDERS = {"openai": "OpenAIProvider", "anthropic": "AnthropicProvider"}


@dataclass(slots=True)
class _Answer:
    """One that is being relayed. `said` is all that was delivered, by earlier owners too, and `offset` its bytes."""

    prompt: Prompt
    job: Job
    said: list[str]
    offset: int
    limit: int | None  # tokens of the whole answer
    marker: Marker | None = None  # of a chat

    def told(self, part: Part) -> str:
        if self.marker:
            return self.marker.text(part)
        return part.text if isinstance(part, ContentDelta) else ""

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def tokens(self) -> int:
        """About how many were delivered."""
        return -(-self.offset // BYTES)

    @property
    def left(self) -> int | None:
        """About how many tokens more it may have."""
        return None if self.limit is None else self.limit - self.tokens

    def guess(self) -> Usage:
        return Usage(about(self.job), self.tokens)


class RemoteEngine:
    """One model of one endpoint. Everything but `embed` and `close` is called on the event loop."""

    vocabulary: Vocabulary

    def __init__(self, endpoint: Endpoint, *, max_running: int | None = None):
        module = import_module(f"workers.engines.remote_{endpoint.api}")
        self._endpoint = endpoint
        self._provider: Provider = getattr(module, _PROVIDERS[endpoint.api])(endpoint, endpoint.key())
        self.vocabulary = ByteVocabulary()
        self.caps = Caps(
            context_length=endpoint.context_length or 0,
            max_running=max_running or endpoint.max_running or DEFAULT_RUNNING,
            resume="distribution" if endpoint.resume == "prefill" else "none",
            embeds=False,
            device=endpoint.host,
            grammars=self._provider.grammars,
            vision=endpoint.sees,
            units="bytes",
        )
        self._pace = Pace(endpoint.rpm, endpoint.tpm)
        self._tasks: dict[str, asyncio.Task[Finished]] = {}
        self._ready: Step = []
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._goodbye: asyncio.Future[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Nothing to load; whether the provider is there, the first request will tell."""
        for name in ("openai", "anthropic", "httpx", "httpx2"):  # what they say of requests has prompts in it
            logging.getLogger(name).setLevel(logging.WARNING)

    def room(self) -> int:
        return self._pace.room()

    def admit(self, prompt: Prompt) -> None:
        if self._closed:
            raise EngineDied("the engine for this provider is closed")
        refuse_beyond(prompt, self.caps)
        refuse_unknown([*prompt.prompt_ids, *prompt.prefix_ids], SIZE, param="prompt")
        answer = self._answer(prompt)
        self._check(answer)
        task = asyncio.create_task(self._relay(answer), name=f"relay {prompt.id}")
        self._loop, self._tasks[prompt.id] = task.get_loop(), task
        task.add_done_callback(lambda _: self._ended(prompt.id, task))

    def abort(self, id: str) -> None:
        if task := self._tasks.get(id):
            task.cancel()

    async def steps(self) -> AsyncIterator[Step]:
        self._loop = asyncio.get_running_loop()
        while not self._closed:
            try:
                async with asyncio.timeout(_PULSE_S):
                    await self._wake.wait()
            except TimeoutError:
                if not self._tasks:
                    continue
            self._wake.clear()
            step, self._ready = self._ready, []
            yield step

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        raise UnsupportedParameter("models of other providers give no embeddings here", param="model")

    def running(self) -> int:
        return len(self._tasks)

    def close(self) -> None:
        self._closed = True
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._wake.set()
        self._goodbye = asyncio.ensure_future(self._provider.close())

    def _check(self, answer: _Answer) -> None:
        """What cannot be asked is told before anything is."""
        try:
            self._provider.request(answer.job, "", answer.limit)
        except QueuechatError:
            raise
        except Exception as error:  # what one request holds must never end the worker of the others
            log.exception("request %s cannot be passed on", answer.prompt.id)
            raise QueuechatError(f"this request cannot be passed on ({type(error).__name__})") from error

    # -- one answer ------------------------------------------------------------------------------------------------

    def _answer(self, prompt: Prompt) -> _Answer:
        job = prompt.asked or Job(
            prompt.id, "", prompt=self.vocabulary.decode(prompt.prompt_ids), sampling=prompt.sampling,
            max_tokens=prompt.max_new, grammar=prompt.grammar, given=all_given(prompt.sampling),
        )  # fmt: skip
        if prompt.stop_ids:
            raise UnsupportedParameter("ids that end an answer cannot be told a provider", param="stop_ids")
        text = self.vocabulary.decode(prompt.prefix_ids)
        limit = self._endpoint.recommended_config.max_new_tokens if job.max_tokens is None else job.max_tokens
        marker = Marker() if job.messages is not None else None
        return _Answer(prompt, job, [text] if text else [], len(prompt.prefix_ids), limit, marker=marker)

    async def _relay(self, answer: _Answer) -> Finished:
        """Ask until there is an answer, or no sense in it."""
        tries = 0
        while True:
            if answer.left is not None and answer.left <= 0:
                return Finished(answer.prompt.id, "length", usage=answer.guess())
            self._refuse_to_contradict(answer)
            try:
                return await self._ask(answer)
            except Hitch as hitch:
                wait_s = hitch.wait_s if hitch.wait_s is not None else pause_s(tries)
                if hitch.wait_s is not None:
                    self._pace.hold(min(wait_s, PATIENCE_S))
                if tries >= self._endpoint.retries or wait_s > PATIENCE_S:
                    raise hitch.error from None
                log.info("%s is asked again in %.1f s: %s", self._endpoint.host, wait_s, hitch)
                tries += 1
                await asyncio.sleep(wait_s)

    def _refuse_to_contradict(self, answer: _Answer) -> None:
        """Raises ProviderFailed where a new answer could not go on from what was delivered."""
        job, prefills = answer.job, self._endpoint.resume == "prefill"
        if job.messages is None:
            can = isinstance(job.prompt, str)
        else:
            can = prefills and not (is_marked(answer.text) or job.grammar or job.must_call)
        if answer.said and not can:
            raise ProviderFailed(
                "the answer broke off, and the provider of this model cannot go on from what was delivered: ask again"
            )

    async def _ask(self, answer: _Answer) -> Finished:
        """Raises Hitch when another try may help, a QueuechatError when not."""
        before, tokens = answer.text, answer.tokens
        skip = before[len(before.rstrip()) :] if answer.job.messages is not None else ""
        request = self._provider.request(answer.job, before.removesuffix(skip), answer.left)
        spent = self._pace.begin(about(answer.job) + (answer.left or 0))
        told_usage: Usage | None = None
        try:
            async with aclosing(self._provider.stream(request)) as told:
                async for one in told:
                    if isinstance(one, Closing):
                        told_usage = one.usage
                        return self._finish(answer, one, tokens)
                    text = answer.told(one)
                    if skip and text:  # it was told the answer without the space at its end, and may say that again
                        text, skip = _less(text, skip)
                    self._say(answer, text)
            raise BrokenOff("the stream ended without a word")
        except (QueuechatError, Hitch):
            raise
        except Exception as error:
            judgement = judged(error)
            log.info("%s: %s: %s", self._endpoint.host, type(error).__name__, judgement)
            raise judgement from None
        finally:
            usage = told_usage or answer.guess()
            spent.tokens = usage.prompt_tokens + usage.tokens

    def _say(self, answer: _Answer, text: str) -> None:
        ids = self.vocabulary.encode(text, add_special=False)
        if not ids:
            return
        self._post(Tokens(answer.prompt.id, answer.offset, ids))
        answer.said.append(text)
        answer.offset += len(ids)

    def _finish(self, answer: _Answer, closing: Closing, before: int) -> Finished:
        """What was delivered before this request was read by the provider as a part of its prompt."""
        if answer.marker:
            self._say(answer, answer.marker.finish())
        usage = answer.guess()
        if told := closing.usage:
            usage = Usage(max(told.prompt_tokens - before, 0), told.tokens + before)
        return Finished(answer.prompt.id, closing.reason, usage=usage, stop=closing.stop)

    def _ended(self, id: str, task: asyncio.Task[Finished]) -> None:
        del self._tasks[id]
        if task.cancelled():
            self._post(Finished(id, "cancelled"))
        elif (error := task.exception()) is None:
            self._post(task.result())
        else:
            if not isinstance(error, QueuechatError):
                log.error("relaying %s failed", id, exc_info=error)
                error = ProviderFailed(f"the answer could not be relayed ({type(error).__name__})")
            param = error.param if isinstance(error, InvalidRequest) else None
            self._post(Finished(id, "error", error.message, param=param, failure=error))

    def _post(self, event: Tokens | Finished) -> None:
        self._ready.append(event)
        self._wake.set()


def _less(text: str, skip: str) -> tuple[str, str]:
    """The text without as much of `skip` as it begins with, and what of that may still come."""
    if not skip.startswith(text[: len(skip)]):
        return text, ""
    return text[len(skip) :], skip[len(text) :]
