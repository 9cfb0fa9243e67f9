"""From a job to what an engine runs: template, tokens, limits, and what earlier owners already delivered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from queuechat.dialects.speech import markers
from queuechat.dialects.speech.manner import tags
from queuechat.errors import ContextLengthExceeded, InvalidRequest, UnsupportedParameter
from queuechat.protocol import MAX_READ, MAX_READ_BYTES, Job, Read
from workers.engines.base import Caps, Prompt, SeeingVocabulary, Sight, Vocabulary, refuse_unknown
from workers.pictures import opened
from workers.text.calling import in_words, speaks_of_tools, with_short_ids
from workers.text.grammar import check_grammar
from workers.text.middle import Middle, middle_of
from workers.text.template import render, variables

_TAG_IDS = 16  # a tag that is no token of its own, and whitespace after it, are well within


@dataclass(frozen=True)
class Speech:
    """How a model reads and writes: its vocabulary, the chat template in force ("" when it has none), the format of its
    calls of tools and the tag of its thoughts ("" for neither), and the words that end its turns in a chat beside the
    ends of its vocabulary."""

    vocabulary: Vocabulary
    template: str
    tool_format: str = ""
    reasoning: str = ""
    stop: tuple[str, ...] = ()

    def ends(self, job: Job) -> tuple[frozenset[int], list[str]]:
        """What ends the answer to a job if the client says nothing: token ids, and words of its text.

        A grammar ends its answers by itself, and may well hold such a word.
        """
        if job.ignore_eos:
            return frozenset(), []
        if job.messages is None or job.grammar is not None:
            return self.vocabulary.eos_ids, []
        return self.vocabulary.eos_ids | frozenset(self._stop_tokens.values()), self._stop_words

    @cached_property
    def _stop_tokens(self) -> dict[str, int]:
        """Those of the words that are special tokens, which no text shows."""
        ids = {word: self.vocabulary.id_of(word) for word in self.stop}
        return {word: id for word, id in ids.items() if id is not None and not self.vocabulary.decode([id])}

    @cached_property
    def _stop_words(self) -> list[str]:
        return [word for word in self.stop if word not in self._stop_tokens]

    @property
    def chats(self) -> bool:
        """Whether it can be sent messages."""
        return bool(self.template)

    def decoder(self, job: Job) -> Vocabulary:
        """What keeps the special tokens by which calls and thoughts are known."""
        return self._with_calls if job.tools else self._with_thoughts

    def opening(self, job: Job, prompt_ids: list[int]) -> str:
        """The tag of thoughts, when the prompt ends with it: templates of some models open it for them. A grammar
        begins where the prompt ends, so that there are no thoughts under it."""
        if not self.reasoning or job.messages is None or job.grammar is not None:
            return ""
        tag, _ = tags(self.reasoning)
        end = self._with_thoughts.decode(prompt_ids[-_TAG_IDS:])
        return f"{tag}\n" if end.rstrip().endswith(tag) else ""

    @cached_property
    def _with_thoughts(self) -> Vocabulary:
        return self.vocabulary.keeping(markers("", self.reasoning))

    @cached_property
    def _with_calls(self) -> Vocabulary:
        return self.vocabulary.keeping(markers(self.tool_format, self.reasoning))

    @cached_property
    def _knows_tools(self) -> bool:
        return "tools" in variables(self.template)

    def ids_of(self, job: Job) -> list[int]:
        """Token ids of a job's prompt.

        Raises:
            InvalidRequest: the template refuses these messages, or the prompt is empty.
        """
        ids = self._ids(job)
        if not ids:
            raise InvalidRequest("the prompt is empty: a model needs at least one token to go on from", param="prompt")
        return ids

    def read(self, job: Job) -> Read:
        """What a job that only reads wants to know.

        Raises:
            InvalidRequest: the template refuses these messages, or an id is not of the vocabulary.
        """
        if job.reading == "text":
            ids = self._ids(job)
            refuse_unknown(ids, len(self.vocabulary), param="tokens")
            _refuse_long(len(ids), "tokens")
            text = self.vocabulary.decode(ids)
            if len(text.encode(errors="replace")) > MAX_READ_BYTES:
                raise InvalidRequest(
                    f"`tokens` are a text of more than {MAX_READ_BYTES} bytes: ask for parts", param="tokens"
                )
            return Read(len(ids), text=text)
        ids = self._ids(job)
        if job.reading == "count":
            return Read(len(ids))
        _refuse_long(len(ids), "prompt" if job.messages is None else "messages")
        spell = self.vocabulary.bytes_of
        pieces = [spell(id).decode(errors="replace") for id in ids] if job.reading == "pieces" else []
        return Read(len(ids), ids, pieces)

    @cached_property
    def fim(self) -> Middle | None:
        """How it fills in the middle; None when it was not trained to."""
        return middle_of(self.vocabulary.id_of)

    def _ids(self, job: Job) -> list[int]:
        if job.suffix is not None:
            return self._around(job)
        if job.images:
            return list(self.see(job).ids)
        if job.messages is not None:
            return self._chat(job)
        if isinstance(job.prompt, str):
            return self.vocabulary.encode(job.prompt, add_special=job.add_special)
        return list(job.prompt or [])

    def _around(self, job: Job) -> list[int]:
        if self.fim is None:
            raise UnsupportedParameter(f"the model {job.model!r} does not fill in the middle", param="suffix")
        encode = self.vocabulary.encode
        before = encode(job.prompt, add_special=False) if isinstance(job.prompt, str) else list(job.prompt or [])
        head = encode("", add_special=job.add_special)
        return head + self.fim.around(before, encode(job.suffix or "", add_special=False))

    def see(self, job: Job) -> Sight:
        """The prompt of a job that has images.

        Raises:
            UnsupportedParameter: the model sees none.
            InvalidImage: one cannot be read.
            InvalidRequest: the template refuses these messages.
        """
        if not isinstance(self.vocabulary, SeeingVocabulary):
            raise UnsupportedParameter(f"the model {job.model!r} takes text only: leave images out", param="messages")
        return self.vocabulary.see(self._text(job), opened(job.images))

    def _chat(self, job: Job) -> list[int]:
        return self.vocabulary.encode(self._text(job), add_special=False)

    def _text(self, job: Job) -> str:
        if not self.template:
            raise InvalidRequest(
                f"the model {job.model!r} has no chat template: use /v1/completions, or start its worker with "
                "--chat-template (`queuechat templates` lists those that come with it)",
                param="messages",
            )
        if "special_tokens" in job.template_args:
            raise InvalidRequest("a template argument cannot be called 'special_tokens'", param="chat_template_kwargs")
        args = job.template_args | ({"tools": job.tools} if job.tools and self._knows_tools else {})
        messages = self._messages(job)
        return render(self.template, messages, special_tokens=self.vocabulary.special_tokens, **args)

    def _messages(self, job: Job) -> list[dict[str, Any]]:
        """The messages as the template understands them.

        Raises:
            UnsupportedParameter: they are about tools, and it would leave those out in silence.
        """
        messages = job.messages or []
        if not (job.tools or speaks_of_tools(messages)):
            return messages
        if self.tool_format == "json" and not self._knows_tools:
            return in_words(messages, job.tools)
        if not self._knows_tools or (job.tools and not self.tool_format):
            raise UnsupportedParameter(
                f"the chat template of the model {job.model!r} knows no tools: leave them out, or start its worker "
                "with --tool-format json",
                param="tools" if job.tools else "messages",
            )
        return with_short_ids(messages) if self.tool_format == "mistral" else messages


def _refuse_long(count: int, param: str) -> None:
    if count > MAX_READ:
        raise InvalidRequest(
            f"`{param}` has {count} tokens, and at most {MAX_READ} are told: ask for parts", param=param
        )


def is_short(job: Job, limit: int) -> bool:
    """Whether all that is rendered and tokenised has fewer characters, and things that hold them, than `limit`."""
    items: list[Any] = [job.prompt, job.messages, job.suffix, job.tools, job.template_args]
    while items and limit > 0 and not job.images:
        item = items.pop()
        limit -= len(item) if isinstance(item, str | list | dict) else 1
        if isinstance(item, list | dict) and limit > 0:
            items += item.values() if isinstance(item, dict) else item
    return limit > 0 and not job.images


def prompt_of(job: Job, id: str, prompt_ids: list[int], prefix_ids: list[int], speech: Speech, caps: Caps) -> Prompt:
    """What the engine is asked, under an id of its own.

    Raises:
        ContextLengthExceeded: prompt and answer do not fit; the message names the lengths.
        InvalidRequest: the grammar is too large or not of its kind, or the answer is not allowed to end where it says.
    """
    if job.grammar is not None:
        check_grammar(job.grammar)
        if job.ignore_eos:
            raise InvalidRequest("under a grammar the end of the answer cannot be ignored", param="ignore_eos")
    if job.prompt_logprobs is not None and not caps.scores:
        raise UnsupportedParameter("this model's engine tells no logprobs of prompts: leave `echo` out", param="echo")
    room = caps.context_length - len(prompt_ids)
    if room < (job.max_tokens != 0):
        raise ContextLengthExceeded(  # clients know it by either half: "maximum context length", "prompt is too long"
            f"This model's maximum context length is {caps.context_length} tokens. However, your prompt is too long: "
            f"it has {len(prompt_ids)} tokens. Please shorten it.",
            param="prompt" if job.messages is None else "messages",
        )
    if job.max_tokens is not None and job.max_tokens > room and not job.fit:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {caps.context_length} tokens. However, you requested "
            f"{len(prompt_ids) + job.max_tokens} tokens ({len(prompt_ids)} in the prompt, {job.max_tokens} in the "
            "completion). Please reduce either.",
            param="max_tokens",
        )
    return Prompt(
        id=id,
        prompt_ids=prompt_ids,
        prefix_ids=prefix_ids,
        max_new=room if job.max_tokens is None else min(job.max_tokens, room),
        stop_ids=speech.ends(job)[0],
        sampling=job.sampling,
        logprobs=job.logprobs,
        grammar=job.grammar,
    )
