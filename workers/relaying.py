"""What a model of a provider elsewhere is asked: the job itself. There is no template here, and no token ids."""

from __future__ import annotations

from collections.abc import Sequence

from queuechat.dialects.speech import RELAYED
from queuechat.errors import UnsupportedParameter
from queuechat.protocol import Job, Read
from workers.engines.base import Caps, Prompt, Vocabulary
from workers.prompting import Speech
from workers.text.grammar import check_grammar

_UNBOUND = 1 << 31  # bytes: where an answer ends, the provider knows


class Relay(Speech):
    """How such a model reads and writes: in messages and parts."""

    def __init__(self, vocabulary: Vocabulary, *, thinks: bool = False):
        super().__init__(vocabulary, "", RELAYED, RELAYED if thinks else "")

    @property
    def chats(self) -> bool:
        return True

    def decoder(self, job: Job) -> Vocabulary:
        return self.vocabulary

    def opening(self, job: Job, prompt_ids: list[int]) -> str:
        return ""

    def read(self, job: Job) -> Read:
        raise UnsupportedParameter(
            f"the model {job.model!r} is served by a provider elsewhere, who does not tell what its tokens are",
            param="model",
        )


def relayed_prompt(job: Job, id: str, prefix_ids: Sequence[int], caps: Caps) -> Prompt:
    """What the engine is asked, under an id of its own.

    Raises:
        UnsupportedParameter: it asks for what only a model that is here could do; `param` names it.
        InvalidRequest: the grammar is too large or not of its kind.
    """
    if job.images and not caps.vision:
        raise UnsupportedParameter(f"the model {job.model!r} takes text only: leave images out", param="messages")
    if job.suffix is not None:
        raise UnsupportedParameter(f"the model {job.model!r} does not fill in the middle", param="suffix")
    if job.prompt_logprobs is not None:
        raise UnsupportedParameter("this model's engine tells no logprobs of prompts: leave `echo` out", param="echo")
    if job.grammar is not None:
        check_grammar(job.grammar)
    most = 0 if job.max_tokens == 0 else _UNBOUND
    return Prompt(
        id, (), most, tuple(prefix_ids), sampling=job.sampling, logprobs=job.logprobs, grammar=job.grammar, asked=job
    )
