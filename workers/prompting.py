"""From a job to what an engine runs: template, tokens, limits, and what earlier owners already delivered."""

from __future__ import annotations

from dataclasses import dataclass

from queuechat.errors import ContextLengthExceeded, InvalidRequest
from queuechat.protocol import Job
from workers.engines.base import Caps, Prompt, Vocabulary
from workers.text.grammar import check_grammar
from workers.text.template import render


@dataclass(frozen=True, slots=True)
class Speech:
    """How a model reads: its vocabulary, and the chat template in force ("" when it has none)."""

    vocabulary: Vocabulary
    template: str

    def ids_of(self, job: Job) -> list[int]:
        """Token ids of a job's prompt.

        Raises:
            InvalidRequest: the template refuses these messages, or the prompt is empty.
        """
        if job.messages is not None:
            ids = self._chat(job)
        elif isinstance(job.prompt, str):
            ids = self.vocabulary.encode(job.prompt, add_special=True)
        else:
            ids = list(job.prompt or [])
        if not ids:
            raise InvalidRequest("the prompt is empty: a model needs at least one token to go on from", param="prompt")
        return ids

    def _chat(self, job: Job) -> list[int]:
        if not self.template:
            raise InvalidRequest(
                f"the model {job.model!r} has no chat template: use /v1/completions, or start its worker with "
                "--chat-template",
                param="messages",
            )
        if "special_tokens" in job.template_args:
            raise InvalidRequest("a template argument cannot be called 'special_tokens'", param="chat_template_kwargs")
        text = render(
            self.template,
            job.messages or [],
            special_tokens=self.vocabulary.special_tokens,
            **job.template_args,
        )
        return self.vocabulary.encode(text, add_special=False)


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
    room = caps.context_length - len(prompt_ids)
    if room < 1:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {caps.context_length} tokens. However, your prompt has "
            f"{len(prompt_ids)} tokens. Please shorten it.",
            param="prompt" if job.messages is None else "messages",
        )
    if job.max_tokens is not None and job.max_tokens > room:
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
        max_new=room if job.max_tokens is None else job.max_tokens,
        stop_ids=frozenset() if job.ignore_eos else speech.vocabulary.eos_ids,
        sampling=job.sampling,
        logprobs=job.logprobs,
        grammar=job.grammar,
    )
