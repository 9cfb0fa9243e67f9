"""Encoder-decoder models (T5 and its kin, BART) under transformers, whose continuous batching has no place for them.

The encoder reads a prompt once. What it makes of it stays in the cache of the decoder's cross attention, and all
answers take their steps together; where a model counts positions, only those that began together do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from workers.engines.base import Prompt
from workers.engines.drawing import Output, draw
from workers.engines.hf_model import Loaded
from workers.engines.seq2seq_crowd import Crowd
from workers.engines.seq2seq_model import Seq2Seq, answers, load_seq2seq
from workers.engines.stepwise import StepwiseEngine, last

READ_TOKENS = 4096  # of prompts that are read at once, padding included


class Answer(Output):
    """One sequence. The decoder has been given all of it but its `latest` token; that is None before the first."""

    def __init__(self, prompt: Prompt, matcher: Any = None):
        super().__init__(prompt, matcher)
        self.latest: int | None = None

    def take(self, token: int) -> None:
        super().take(token)
        self.latest = token


class Seq2SeqEngine(StepwiseEngine[Answer]):
    """See `workers.engines.base.Engine`. `source` is a folder or a Hub id."""

    kind = "encoder-decoder"
    options: frozenset[str] = frozenset()
    running_by_device = {"cpu": 16, "": 64}  # noqa: RUF012

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_running: int | None = None,
        revision: str | None = None,
        max_context: int | None = None,
        threads: int | None = None,
    ):
        super().__init__(self._opened, max_running, max_context)
        self._open = partial(load_seq2seq, source, device=device, dtype=dtype, revision=revision, threads=threads)
        self._opening: tuple[int, ...] = ()
        self._positions: int | None = None
        self._crowds: list[Crowd[Answer]] = []

    def _opened(self) -> Seq2Seq:
        loaded = self._open()
        self._opening, self._positions = loaded.opening, loaded.positions
        return loaded

    def _computes(self) -> bool:
        return answers(self._model, self._opening)

    def _context(self, loaded: Loaded) -> int:
        """Without a limit of positions it is only a habit of the model, and who asks for more gets it."""
        if self._positions is None:
            return self._max_context or loaded.context_length
        return super()._context(loaded)

    def _check_ids(self, prompt: Prompt) -> None:
        super()._check_ids(prompt)
        if self._positions is not None:
            self._refuse_long(len(prompt.prompt_ids), self._positions)

    def _room(self, prompt: Prompt) -> int:
        room = super()._room(prompt)
        return room if self._positions is None else min(room, self._positions - len(self._opening) + 1)

    def _sequence(self, prompt: Prompt, matcher: Any) -> Answer:
        return Answer(prompt, matcher)

    # -- in the engine's thread ----------------------------------------------------------------------------------------

    def _round(self, running: list[Answer]) -> list[Answer]:
        """Steps all answers, then reads prompts, some at a time; those that are left, and those still to be read."""
        for crowd in self._crowds:
            crowd.keep([row for row in crowd.rows if not row.gone])
            if crowd.rows:
                self._draw(crowd, crowd.step([row.latest or 0 for row in crowd.rows]))
        waiting = [answer for answer in running if answer.latest is None and not answer.gone]
        group = together(waiting)
        self._read(group)
        self._crowds = [crowd for crowd in self._crowds if crowd.rows]
        return [row for crowd in self._crowds for row in crowd.rows] + waiting[len(group) :]

    def _read(self, group: Sequence[Answer]) -> None:
        if not group:
            return
        try:
            crowd, logits = Crowd.read(self._model, group, self._opening)
        except Exception as error:
            if len(group) == 1:
                self._tell([(group[0], self._events(group[0], error))])
            else:  # alone each of them shows whose trouble it is
                for answer in group:
                    self._read([answer])
            return
        for answer in group:
            answer.recall()
        self._draw(crowd, logits)
        if self._crowds and self._positions is None and crowd.rows:
            self._crowds[0].join(crowd)
        else:
            self._crowds.append(crowd)

    def _draw(self, crowd: Crowd[Answer], logits: Any) -> None:
        outcomes = draw(crowd.rows, logits)
        told = [(row, self._events(row, outcome)) for row, outcome in zip(crowd.rows, outcomes, strict=True)]
        self._tell(told)
        crowd.keep([row for row, step in told if not last(step)])


def together(waiting: Sequence[Answer]) -> list[Answer]:
    """The first ones that can be read at once: with prefixes of one length, and not too many tokens together."""
    group: list[Answer] = []
    width = 0
    for answer in waiting:
        width = max(width, len(answer.prompt.prompt_ids))
        if group and ((len(group) + 1) * width > READ_TOKENS or answer.at != group[0].at):
            break
        group.append(answer)
    return group
