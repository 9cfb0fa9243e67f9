"""Whole completions, once their events have come."""

from __future__ import annotations

from typing import Any

from queuechat.answer import Event
from queuechat.dialects.likely import Likely, mean, text_of, told_by
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.style import COMPLETION
from queuechat.protocol import Chunk, End, Logprob


class WholeTexts:
    """Every answer to every prompt; of more than were asked for the likeliest."""

    def __init__(self, order: Order, created: int):
        self._order, self._created = order, created
        self._texts = [[echo] for echo in order.echo] if order.echo else [[] for _ in order.jobs]
        self._prompts: list[list[Logprob]] = [[] for _ in order.jobs]
        self._said: list[list[Logprob]] = [[] for _ in order.jobs]
        self._reasons = [""] * len(order.jobs)

    def add(self, index: int, event: Event) -> None:
        if not isinstance(event, Chunk | End):
            return
        if event.prompt and not self._order.echo[index]:
            self._texts[index].append(text_of(event.prompt))
        self._texts[index].append(event.text)
        self._prompts[index] += event.prompt
        self._said[index] += told_by(event)[len(event.prompt) :]
        if isinstance(event, End):
            self._reasons[index] = event.reason.value

    def body(self, id: str, tally: Tally) -> dict[str, Any]:
        return {
            "id": COMPLETION.prefix + id,
            "object": COMPLETION.whole,
            "created": self._created,
            "model": self._order.name,
            "choices": [self._choice(index, job) for index, job in enumerate(self._kept())],
            "usage": tally.usage(),
        }

    def _kept(self) -> list[int]:
        """The answers that are told, by their jobs."""
        n, every = self._order.siblings, range(len(self._order.jobs))
        groups = [sorted(every[at : at + n], key=lambda k: -mean(self._said[k])) for at in range(0, len(every), n)]
        return list(every) if self._order.kept is None else [k for g in groups for k in g[: self._order.kept]]

    def _choice(self, index: int, job: int) -> dict[str, Any]:
        told = [*self._prompts[job], *self._said[job]]
        logprobs = Likely().lists(told) if self._order.showing.logprobs else None
        text = "".join(self._texts[job])
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": self._reasons[job]}
