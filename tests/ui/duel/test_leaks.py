"""Answers that tell who wrote them."""

from __future__ import annotations

import pytest

from ui.duel.leaks import leaks


@pytest.mark.parametrize(
    "answer",
    [
        "I am ChatGPT, made by OpenAI.",
        "As a language model of ALIBABA, I cannot.",
        "Ich bin tülu.",
        "My name is Claude-3.",
        "I am tiny-echo:1b, and glad to help.",
        "SmolLM2 at your service",
    ],
)
def test_an_answer_that_names_a_maker_or_the_model_leaks(answer: str) -> None:
    assert leaks(["a queue", answer], ["tiny-echo:1b", "other"])


@pytest.mark.parametrize("answer", ["", "A kitchen is calm.", "Incoherent boulders, an embarked fleet.", "tiny-ech"])
def test_other_answers_do_not(answer: str) -> None:
    assert not leaks([answer], ["tiny-echo:1b", "other"])
