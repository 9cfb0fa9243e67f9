"""One sequence under transformers' continuous batching, and its outputs as events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus

from queuechat.errors import EngineDied, QueuechatError
from queuechat.protocol import Logprob
from workers.engines.base import Finished, Prompt, Step, Tokens
from workers.engines.batch_sampler import Row, Said


@dataclass(slots=True)
class Sequence:
    """`request` is its name in the manager, never used twice; `at` the offset of the next token."""

    prompt: Prompt
    request: str
    at: int
    row: Row

    def events(self, output: Any, bytes_of: Callable[[int], bytes]) -> Step:
        """What is new in an output, which repeats all tokens since the request was admitted.

        Those of a step that failed are no answer of the model's: whoever takes over makes them again.
        """
        id = self.prompt.id
        if output.status == RequestStatus.FAILED:
            return [Finished(id, "error", f"the engine died: {output.error}", True)]
        step: Step = []
        start = self.at - len(self.prompt.prefix_ids)
        ids = output.generated_tokens[start:]
        if ids:
            said = self.row.said[start : start + len(ids)]
            step.append(Tokens(id, self.at, ids, [logprob_of(one, bytes_of) for one in said]))
            self.at += len(ids)
        if output.is_finished():
            stopped = bool(ids) and ids[-1] in self.prompt.stop_ids
            step.append(Finished(id, "stop" if stopped else "length"))
        return step

    def refused(self, error: QueuechatError) -> Finished:
        return Finished(self.prompt.id, "error", error.message, isinstance(error, EngineDied), error.param)


def logprob_of(said: Said, bytes_of: Callable[[int], bytes]) -> Logprob:
    """What was said of one token, by its text."""
    ids, values = said
    pieces = [(bytes_of(id), round(value, 6)) for id, value in zip(ids, values, strict=True)]
    (token, logprob), *top = pieces
    return Logprob(token, logprob, top)
