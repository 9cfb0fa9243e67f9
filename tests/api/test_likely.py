"""Completions that tell log probabilities, of their prompts too; the best of many; and what stands in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queuechat.bus import Bus, Claim
from queuechat.protocol import Logprob, Reason
from tests.api.hand import Hand
from tests.api.site import Site
from tests.api.test_refusals import check

PROMPT = [Logprob(b"a", None), Logprob("é".encode()[:1], -1.0, [(b"x", -0.5)]), Logprob("é".encode()[1:], -0.25)]
SAID = [Logprob(b" b", -0.5, [(b" b", -0.5), (b" c", -0.75)]), Logprob(b"!", -2.0, [(b"?", -0.125)])]
PROMPT_LISTS: dict[str, list[Any]] = {
    "tokens": ["a", "bytes:\\xc3", "bytes:\\xa9"],
    "token_logprobs": [None, -1.0, -0.25],
    "top_logprobs": [None, {"x": -0.5}, {}],
    "text_offset": [0, 1, 1],
}
SAID_LISTS: dict[str, list[Any]] = {
    "tokens": [" b", "!"],
    "token_logprobs": [-0.5, -2.0],
    "top_logprobs": [{" b": -0.5, " c": -0.75}, {"?": -0.125}],
    "text_offset": [2, 4],
}
BOTH = {name: PROMPT_LISTS[name] + SAID_LISTS[name] for name in PROMPT_LISTS}


@pytest.fixture
async def teller(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model, logprobs=True, scores=True, fim=True) as opened:
        yield opened


async def scored(hand: Hand, claim: Claim) -> None:
    if claim.job.max_tokens:
        await hand.say(claim, " b", "!", logprobs=SAID, prompt=PROMPT)
        await hand.end(claim)
    else:
        await hand.end(claim, Reason.LENGTH, prompt=PROMPT)


@pytest.mark.parametrize("prompt", ["a\u00e9", [5, 6, 7]])
async def test_an_echoed_prompt_comes_with_how_likely_it_was(site: Site, teller: Hand, prompt: Any) -> None:
    teller.always(scored)
    asked = {"model": teller.model, "prompt": prompt, "echo": True, "logprobs": 2}
    whole = await site.sdk.completions.create(**asked)
    assert whole.choices[0].text == "a\u00e9 b!"
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.model_dump() == BOTH
    only = await site.sdk.completions.create(**asked, max_tokens=0)
    assert (only.choices[0].text, only.choices[0].finish_reason) == ("a\u00e9", "length")
    assert only.choices[0].logprobs is not None
    assert only.choices[0].logprobs.model_dump() == PROMPT_LISTS


@pytest.mark.parametrize("prompt", ["a\u00e9", [5, 6, 7]])
@pytest.mark.parametrize("max_tokens", [0, 5])
async def test_a_stream_tells_the_same(site: Site, teller: Hand, prompt: Any, max_tokens: int) -> None:
    teller.always(scored)
    stream = await site.sdk.completions.create(
        model=teller.model, prompt=prompt, echo=True, logprobs=2, stream=True, max_tokens=max_tokens
    )
    told: dict[str, list[Any]] = {name: [] for name in BOTH}
    text, reasons = "", []
    async for chunk in stream:
        (choice,) = chunk.choices
        text += choice.text
        reasons.append(choice.finish_reason)
        for name, entries in (choice.logprobs.model_dump() if choice.logprobs else {}).items():
            told[name] += entries
    assert text == ("a\u00e9 b!" if max_tokens else "a\u00e9")
    assert told == (BOTH if max_tokens else PROMPT_LISTS)
    assert [reason for reason in reasons if reason] == ["stop" if max_tokens else "length"]


async def test_log_probabilities_come_without_an_echo_too(site: Site, teller: Hand) -> None:
    asked = asyncio.create_task(site.sdk.completions.create(model=teller.model, prompt="x", logprobs=0))
    claim = await teller.one()
    assert (claim.job.logprobs, claim.job.prompt_logprobs) == (0, None)
    await teller.say(claim, " b", logprobs=[Logprob(b" b", -0.5)])
    await teller.end(claim)
    told = (await asked).choices[0].logprobs
    assert told is not None
    assert (told.token_logprobs, told.text_offset) == ([-0.5], [0])


async def test_the_likeliest_of_many_answers_are_told(site: Site, teller: Hand) -> None:
    async def answer(hand: Hand, claim: Claim) -> None:
        k = claim.job.sampling.choice
        values = [-1.0] * (k + 1) if k != 1 else [-0.1, -0.3]
        await hand.say(claim, *([str(k)] * len(values)), logprobs=[Logprob(b"x", value) for value in values])
        await hand.end(claim)

    teller.always(answer)
    whole = await site.sdk.completions.create(model=teller.model, prompt=["p", "q"], n=2, best_of=3)
    assert [(choice.index, choice.text, choice.logprobs) for choice in whole.choices] == [
        *[(0, "11", None), (1, "0", None)],
        *[(2, "11", None), (3, "0", None)],
    ]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (14, 12)


async def test_a_suffix_goes_to_a_model_that_fills_in_the_middle(site: Site, teller: Hand) -> None:
    asked = asyncio.create_task(site.sdk.completions.create(model=teller.model, prompt="x", suffix="y"))
    assert (await teller.tell("m")).job.suffix == "y"
    assert (await asked).choices[0].text == "m"


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"suffix": "y"}, "suffix"), ({"logprobs": 0}, "logprobs"), ({"best_of": 2}, "best_of")],
)
async def test_what_a_model_cannot_tell_is_refused(
    site: Site, hand: Hand, fields: dict[str, object], param: str
) -> None:
    answer = await site.post("/v1/completions", {"model": hand.model, "prompt": "x", **fields})
    check(answer, 400, "unsupported_parameter", param)


async def test_a_prompt_is_not_scored_by_an_engine_that_cannot(site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, model, logprobs=True):
        answer = await site.post("/v1/completions", {"model": model, "prompt": "x", "echo": True, "logprobs": 1})
        check(answer, 400, "unsupported_parameter", "echo")
