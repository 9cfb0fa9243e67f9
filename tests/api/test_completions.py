"""Completions: every form of prompt, echo, and streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuechat.bus import Claim
from tests.api.hand import Hand
from tests.api.site import Site


async def repeat(hand: Hand, claim: Claim) -> None:
    """Answers with its prompt and the number of its choice."""
    prompt = claim.job.prompt
    text = prompt if isinstance(prompt, str) else "".join(f"<{id}>" for id in prompt or [])
    await hand.say(claim, f"{text}/{claim.job.sampling.choice}")
    await hand.end(claim)


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a", ["a/0"]),
        (["a", "b"], ["a/0", "b/0"]),
        ([1, 2], ["<1><2>/0"]),
        ([[1], [2, 3]], ["<1>/0", "<2><3>/0"]),
    ],
)
async def test_a_prompt_may_be_text_or_ids_and_many(site: Site, hand: Hand, prompt: Any, texts: list[str]) -> None:
    hand.always(repeat)
    answer = await site.sdk.completions.create(model=hand.model, prompt=prompt)
    assert [(choice.index, choice.text) for choice in answer.choices] == list(enumerate(texts))
    assert answer.id.startswith("cmpl-")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 7 * len(texts)
    assert answer.usage.completion_tokens == len(texts)


async def test_n_answers_to_each_prompt_come_grouped_by_prompt(site: Site, hand: Hand) -> None:
    hand.always(repeat)
    answer = await site.sdk.completions.create(model=hand.model, prompt=["a", "b"], n=2)
    assert [choice.text for choice in answer.choices] == ["a/0", "a/1", "b/0", "b/1"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 14  # each prompt once


async def test_an_unasked_length_is_sixteen_tokens(site: Site, hand: Hand) -> None:
    asked = asyncio.create_task(site.sdk.completions.create(model=hand.model, prompt="a"))
    assert (await hand.tell("x")).job.max_tokens == 16
    await asked


async def test_echo_begins_the_answer_with_its_prompt(site: Site, hand: Hand) -> None:
    hand.always(repeat)
    whole = await site.sdk.completions.create(model=hand.model, prompt=["a", "b"], echo=True)
    assert [choice.text for choice in whole.choices] == ["aa/0", "bb/0"]
    stream = await site.sdk.completions.create(model=hand.model, prompt=["a", "b"], echo=True, stream=True)
    texts = ["", ""]
    async for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["aa/0", "bb/0"]


async def test_a_stream_of_completions_ends_with_reason_and_usage(site: Site, hand: Hand) -> None:
    hand.always(repeat)
    stream = await site.sdk.completions.create(
        model=hand.model, prompt="a", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert [chunk.choices[0].text for chunk in chunks[:-1]] == ["a/0", ""]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 8
