"""What is asked in a storm, and what the answer must be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from queuechat.protocol import Sampling
from workers.engines.base import Prompt, Tokens
from workers.engines.echo import EchoEngine

_NOUNS = "harbour lantern orchard river paper copper meadow signal window engine letter market winter island ladder"


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with its seed, and how many tokens of the answer are wanted."""

    prompt: str
    seed: int
    tokens: int


class Catalogue:
    """Questions whose undisturbed answers are known before the storm begins."""

    def __init__(self, answers: dict[tuple[str, int], list[int]]):
        self._answers = answers
        self._topics = sorted(answers)
        self._vocabulary = EchoEngine().vocabulary

    @classmethod
    async def write(cls, rng: random.Random, *, topics: int, longest: int) -> Catalogue:
        """Answers of `longest` tokens: an answer of fewer is the beginning of it."""
        asked = [(_prompt(rng, k), rng.randrange(2**31)) for k in range(topics)]
        return cls(dict(zip(asked, await _undisturbed(asked, longest), strict=True)))

    def draw(self, rng: random.Random, shortest: int, longest: int) -> Question:
        prompt, seed = rng.choice(self._topics)
        return Question(prompt, seed, rng.randint(shortest, longest))

    def answer(self, question: Question) -> list[int]:
        return self._answers[question.prompt, question.seed][: question.tokens]

    def spell(self, ids: Sequence[int]) -> str:
        return self._vocabulary.decode(ids)


def _prompt(rng: random.Random, number: int) -> str:
    words = rng.choices(_NOUNS.split(), k=rng.choice((1, 5, 40, 300)))
    return f"Question {number}: {' '.join(words)}?"


async def _undisturbed(asked: Sequence[tuple[str, int]], tokens: int) -> list[list[int]]:
    engine = EchoEngine(max_running=len(asked), context_length=1 << 20)
    for number, (prompt, seed) in enumerate(asked):
        ids = engine.vocabulary.encode(prompt, add_special=True)
        engine.admit(Prompt(str(number), ids, max_new=tokens, sampling=Sampling(seed=seed)))
    answers: list[list[int]] = [[] for _ in asked]
    steps = engine.steps()
    async for step in steps:
        for event in step:
            if isinstance(event, Tokens):
                answers[int(event.id)] += event.ids
        if not engine.running():
            break
    await steps.aclose()  # type: ignore[attr-defined]
    return answers
