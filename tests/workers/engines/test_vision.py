"""Models that read images: what they see matters, and they say what transformers itself would have them say."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from queuechat.errors import InvalidImage, UnsupportedParameter
from queuechat.protocol import Grammar, Sampling
from tests.workers.engines import tiny_vision
from tests.workers.engines.driver import GREEDY, Driver
from tests.workers.engines.tiny_vision import picture
from workers.engines.base import Prompt, Sight, Tokens
from workers.engines.echo import EchoEngine
from workers.text.template import render

pytest.importorskip("torch")
pytest.importorskip("transformers")

WARM = Sampling(temperature=0.9, top_p=0.95, repetition_penalty=1.1, presence_penalty=0.4, seed=5)
LENGTH = 10


@pytest.fixture(scope="module", params=["llava", "idefics3"])
async def seer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Driver]:
    """An engine with a small model of each kind."""
    from workers.engines.vision import VisionEngine

    folder: Path = getattr(tiny_vision, request.param)(tmp_path_factory.mktemp(request.param))
    engine = VisionEngine(str(folder), device="cpu", dtype="float32", max_running=8)
    await asyncio.to_thread(engine.start)
    driver = Driver("vision", engine)
    yield driver
    await driver.close()


def sight(driver: Driver, *colors: str) -> Sight:
    """A question about images."""
    vocabulary: Any = driver.engine.vocabulary
    parts = [{"type": "text", "text": "what is in "}, *({"type": "image"} for _ in colors)]
    text = render(vocabulary.chat_template, [{"role": "user", "content": parts}], special_tokens={})
    seen: Sight = vocabulary.see(text, [Image.open(BytesIO(picture(color))) for color in colors])
    return seen


def asks(driver: Driver, seen: Sight, prefix: list[int] | None = None, sampling: Sampling = GREEDY) -> Prompt:
    prompt = driver.prompt("", LENGTH, prefix=prefix or [], sampling=sampling)
    return replace(prompt, prompt_ids=seen.ids, sight=seen)


async def says(driver: Driver, *prompts: Prompt) -> list[list[int]]:
    return [answer.ids for answer in await driver.run(*prompts)]


def generated(model: Any, seen: Sight) -> list[int]:
    """What transformers says of the same, greedily."""
    import torch

    ids = torch.tensor([list(seen.ids)])
    out = model.generate(input_ids=ids, **seen.inputs, do_sample=False, max_new_tokens=LENGTH, eos_token_id=None)
    said: list[int] = out[0, ids.shape[1] :].tolist()
    return said


async def test_the_image_changes_what_is_likely(seer: Driver) -> None:
    prompts = [replace(asks(seer, sight(seer, color)), logprobs=3) for color in ("red", "blue", "red")]
    red, blue, again = [answer.logprobs[0] for answer in await seer.run(*prompts)]
    assert red == again
    assert red.top != blue.top


@pytest.mark.parametrize("colors", [("red",), ("green", "blue")])
async def test_a_greedy_answer_is_that_of_transformers_itself(seer: Driver, colors: tuple[str, ...]) -> None:
    seen = sight(seer, *colors)
    model: Any = seer.engine
    assert await says(seer, asks(seer, seen)) == [generated(model._model, seen)]


async def test_a_text_without_images_is_answered_as_transformers_does(seer: Driver) -> None:
    ids = seer.engine.vocabulary.encode("once upon a time", add_special=False)
    model: Any = seer.engine
    assert await seer.ids("once upon a time", LENGTH) == generated(model._model, Sight(ids, {}))


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
async def test_an_answer_about_an_image_cut_anywhere_goes_on_with_the_same_ids(
    seer: Driver, sampling: Sampling
) -> None:
    seen = sight(seer, "red")
    (whole,) = await says(seer, asks(seer, seen, sampling=sampling))
    assert len(whole) == LENGTH
    for cut in range(1, LENGTH):
        assert await says(seer, asks(seer, seen, whole[:cut], sampling)) == [whole[cut:]]


async def test_a_crowd_with_and_without_images_says_what_each_says_alone(seer: Driver) -> None:
    seen = [sight(seer, color) for color in ("red", "blue")]
    prompts = [
        seer.prompt("the quick brown", LENGTH),
        asks(seer, seen[0]),
        seer.prompt("what is", LENGTH, sampling=WARM),
        asks(seer, seen[1], sampling=WARM),
    ]
    alone = [(await says(seer, replace(prompt, id=f"{prompt.id} alone")))[0] for prompt in prompts]
    assert await says(seer, *prompts) == alone
    assert len(set(map(tuple, alone))) == len(alone)


async def test_an_answer_about_an_image_is_held_to_a_grammar(seer: Driver) -> None:
    grammar = Grammar("choice", '["red", "blue"]')
    (answer,) = await seer.run(replace(asks(seer, sight(seer, "red")), grammar=grammar))
    assert seer.engine.vocabulary.decode(answer.ids) in ("red", "blue")
    assert answer.end.reason == "stop"


async def test_what_the_model_cannot_digest_is_the_trouble_of_its_request_alone(seer: Driver) -> None:
    seen = sight(seer, "red")
    pixels = Sight([id for id in seen.ids if id != tiny_vision.IMAGE], seen.inputs)
    other, wrong = await seer.run(seer.prompt("the quick brown", LENGTH), asks(seer, pixels))
    assert len(other.ids) == LENGTH
    assert (wrong.end.reason, wrong.end.retryable) == ("error", False)
    assert wrong.ids == []


async def test_a_prompt_without_a_place_for_its_image_is_refused(seer: Driver) -> None:
    vocabulary: Any = seer.engine.vocabulary
    with pytest.raises(InvalidImage):
        vocabulary.see("user: look\nassistant: ", [Image.open(BytesIO(picture("red")))])


async def test_an_image_mark_in_the_text_takes_no_image_from_its_place(seer: Driver) -> None:
    vocabulary: Any = seer.engine.vocabulary
    parts = [{"type": "text", "text": "this <image> is text"}, {"type": "image"}]
    text = render(vocabulary.chat_template, [{"role": "user", "content": parts}], special_tokens={})
    with pytest.raises(InvalidImage):
        vocabulary.see(text, [Image.open(BytesIO(picture("red")))])


async def test_an_engine_that_sees_nothing_refuses_images_by_name(seer: Driver) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        EchoEngine().admit(asks(seer, sight(seer, "red")))
    assert caught.value.param == "messages"


async def test_nobody_waits_for_the_prompts_of_all_others(seer: Driver) -> None:
    model: Any = seer.engine
    reading, go_on, mark = threading.Event(), threading.Event(), seer.prompt("the quick brown fox", 1)

    def wait(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        ids = given.get("input_ids")
        if ids is not None and ids.shape[1] == len(mark.prompt_ids) and ids[0].tolist() == list(mark.prompt_ids):
            reading.set()
            go_on.wait(seer.patience_s)

    hook = model._model.register_forward_pre_hook(wait, with_kwargs=True)
    first = seer.prompt("what is", 1)
    try:
        for prompt in (first, mark):
            seer.engine.admit(prompt)
        await asyncio.to_thread(reading.wait, seer.patience_s)
        answer = await seer.finished(first.id)
        assert not go_on.is_set()
        assert answer.end.reason == "length"
    finally:
        go_on.set()
        hook.remove()
    await seer.finished(mark.id)


async def test_those_who_speak_go_on_between_the_prompts_of_others(seer: Driver) -> None:
    answers = [seer.prompt(f"word {n}", 4) for n in range(3)]
    for prompt in answers:
        seer.engine.admit(prompt)
    for prompt in answers:
        await seer.finished(prompt.id)
    order = [(event.id, event.offset) for event in seer.events if isinstance(event, Tokens)]
    assert order.index((answers[0].id, 1)) < order.index((answers[2].id, 0))


async def test_a_long_prompt_gives_signs_of_life(seer: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engines.pulse.EVERY_S", 0.0)
    before = seer.sizes.count(0)
    await seer.run(seer.prompt("what is", 1))
    assert seer.sizes.count(0) - before >= 2  # its model of text has two layers


async def test_an_engine_at_rest_keeps_nothing_of_the_last_sequence(seer: Driver) -> None:
    model: Any = seer.engine
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    prompt = asks(seer, sight(seer, "red"))
    seer.engine.admit(prompt)
    weakref.finalize(model._sequences[prompt.id], lambda: loop.call_soon_threadsafe(gone.set))
    await seer.finished(prompt.id)
    async with asyncio.timeout(seer.patience_s):
        await gone.wait()


def test_sequences_whose_positions_the_model_remembers_do_not_disturb_each_other() -> None:
    from workers.engines.drawing import Drawn, draw
    from workers.engines.vision_reading import Reading

    def step(reading: Reading) -> int:
        (drawn,) = draw([reading], reading.logits())
        assert isinstance(drawn, Drawn)
        return drawn.token

    model = tiny_vision.qwen2_vl()
    small = tiny_vision.qwen2_vl_sight(picture("red"), [1, 2, 3], [4, 5])
    wide = tiny_vision.qwen2_vl_sight(picture("blue", (32, 16)), [7], [8, 9, 10, 11])
    assert len(small.ids) != len(wide.ids)
    readings = [Reading(model, Prompt("", seen.ids, LENGTH, sampling=GREEDY, sight=seen)) for seen in (small, wide)]
    said = list(zip(*([step(reading) for reading in readings] for _ in range(LENGTH)), strict=True))
    assert [list(answer) for answer in said] == [generated(model, small), generated(model, wide)]
    resumed = Reading(model, Prompt("", wide.ids, LENGTH, said[1][:4], sampling=GREEDY, sight=wide))
    assert [step(resumed) for _ in range(LENGTH - 4)] == list(said[1][4:])
