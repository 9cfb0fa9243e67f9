"""What is not a law of all engines, but of llama.cpp's."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import EngineDied, InvalidRequest, Misconfigured, UnsupportedParameter
from queuechat.protocol import Sampling
from tests.workers.engines.conftest import smollm, started
from tests.workers.engines.driver import GREEDY, Driver
from workers.engines.base import Prompt
from workers.engines.llamacpp import LlamaCppEngine
from workers.engines.llamacpp_request import completion_request, seed

pytest.importorskip("xllamacpp")

STORY = "Once upon a time there was a river that"
EMOJI = "Say it with emoji: 😀😎👩‍🚀😀😎👩‍🚀😀😎👩‍🚀😀😎"


def request(prompt: Prompt) -> dict[str, Any]:
    return completion_request(prompt, context=512, vocabulary=100, ends=frozenset({0, 2}))


@pytest.fixture(scope="module")
async def llama() -> AsyncIterator[Driver]:
    driver = await started("llamacpp", LlamaCppEngine(str(smollm()), max_running=4, max_context=512))
    yield driver
    await driver.close()


@pytest.fixture
async def single() -> AsyncIterator[Driver]:
    """An engine with one slot of 64 tokens."""
    driver = await started("llamacpp", LlamaCppEngine(str(smollm()), max_running=1, max_context=64))
    yield driver
    await driver.close()


def whole_answer(engine: Any, ids: list[int], count: int) -> list[int]:
    """The same tokens without streaming, from the server's own endpoint."""
    with socket.socket(socket.AF_UNIX) as plug:
        plug.connect(f"{engine._folder}/llamacpp.sock")
        connection = http.client.HTTPConnection("localhost")
        connection.sock = plug
        ask = {"prompt": ids, "n_predict": count, "temperature": 0, "ignore_eos": True, "return_tokens": True}
        connection.request("POST", "/completion", json.dumps(ask | {"samplers": ["temperature"]}))
        tokens: list[int] = json.loads(connection.getresponse().read())["tokens"]
        return tokens


async def test_ids_within_characters_arrive_complete_and_in_order(llama: Driver) -> None:
    streamed = await llama.ids(EMOJI, 40)
    vocabulary = llama.engine.vocabulary
    assert any(vocabulary.decode([id]) == "\ufffd" for id in streamed)
    prompt = vocabulary.encode(EMOJI, add_special=True)
    assert streamed == await asyncio.to_thread(whole_answer, llama.engine, prompt, 40)


@pytest.mark.parametrize("max_new", range(1, 9))
async def test_an_answer_that_is_cut_within_a_character_is_not_short_of_ids(llama: Driver, max_new: int) -> None:
    (transcript,) = await llama.run(llama.prompt(EMOJI, max_new))
    assert len(transcript.ids) == max_new
    assert transcript.ids == (await llama.ids(EMOJI, 12))[:max_new]


@pytest.mark.parametrize("cut", range(1, 9))
async def test_an_answer_can_be_resumed_within_a_character(llama: Driver, cut: int) -> None:
    whole = await llama.ids(EMOJI, 12)
    assert await llama.ids(EMOJI, 12, prefix=whole[:cut]) == whole[cut:]


async def test_tokens_that_llama_cpp_draws_in_one_step_come_together(llama: Driver) -> None:
    before = len(llama.sizes)
    said = await llama.run(*[llama.prompt(f"{STORY} {word}", 40) for word in ("sang", "slept", "froze", "rose")])
    assert len(llama.sizes) - before < sum(len(one.ids) for one in said) / 2


async def test_no_filter_of_llama_cpp_is_left_on_by_default(llama: Driver) -> None:
    flat = [llama.prompt(STORY, 1, sampling=Sampling(temperature=1e6, seed=n)) for n in range(60)]
    drawn = {transcript.ids[0] for transcript in await llama.run(*flat)}
    assert len(drawn) > 40  # its own top_k


async def test_the_frequency_penalty_does_not_charge_the_prompt(llama: Driver) -> None:
    text = "one two three one two three one two"
    first, *rest = await llama.ids(text, 12)
    penalised = await llama.ids(text, 12, sampling=replace(GREEDY, frequency_penalty=2.0))
    assert penalised[0] == first
    assert penalised[1:] != rest


async def test_a_penalised_greedy_answer_is_resumed_with_the_same_ids(llama: Driver) -> None:
    sampling = replace(GREEDY, frequency_penalty=1.0)
    whole = await llama.ids(STORY, 16, sampling=sampling)
    assert await llama.ids(STORY, 16, prefix=whole[:7], sampling=sampling) == whole[7:]


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(presence_penalty=0.1), "presence_penalty"),
        (Sampling(frequency_penalty=0.1, repetition_penalty=1.1), "frequency_penalty"),
        (Sampling(logit_bias={100: 1.0}), "logit_bias"),
    ],
)
def test_what_llama_cpp_cannot_do_is_refused_by_name(sampling: Sampling, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        request(Prompt("a", [1], 5, sampling=sampling))
    assert caught.value.param == param


def test_ends_that_a_prompt_does_not_name_are_forbidden() -> None:
    assert request(Prompt("a", [1], 5))["ignore_eos"] is True
    assert request(Prompt("a", [1], 5, stop_ids=frozenset({0, 2})))["logit_bias"] == []
    some = request(Prompt("a", [1], 5, stop_ids=frozenset({2, 7})))
    assert some["ignore_eos"] is False
    assert some["logit_bias"] == [[0, False]]


def test_a_seed_depends_on_choice_and_place_and_is_never_the_random_one() -> None:
    seeds = {
        seed(Sampling(seed=s, choice=c), place) for s in (0, 1, -1, 2**80) for c in range(3) for place in range(50)
    }
    assert len(seeds) == 600
    assert all(0 <= s < 2**32 - 1 for s in seeds)


async def test_an_end_token_ends_an_answer_and_is_not_yielded(llama: Driver) -> None:
    vocabulary = llama.engine.vocabulary
    end = min(vocabulary.eos_ids)
    sampling = replace(GREEDY, logit_bias={end: 1000.0})
    (stopped,) = await llama.run(llama.prompt(STORY, 5, sampling=sampling, stop=vocabulary.eos_ids))
    assert (stopped.ids, stopped.end.reason) == ([], "stop")


async def test_the_end_of_the_context_is_the_end_of_the_answer(single: Driver) -> None:
    (transcript,) = await single.run(single.prompt(STORY, 500))
    assert transcript.end.reason == "length"
    assert len(transcript.ids) + len(single.engine.vocabulary.encode(STORY, add_special=True)) in (63, 64)
    (resumed,) = await single.run(single.prompt(STORY, 500, prefix=transcript.ids + [1] * 10))
    assert (resumed.ids, resumed.end.reason) == ([], "length")


async def test_a_prompt_over_the_context_is_an_error_that_no_retry_helps(single: Driver) -> None:
    (transcript,) = await single.run(single.prompt(STORY * 20, 5))
    assert (transcript.end.reason, transcript.end.retryable) == ("error", False)
    assert "context" in transcript.end.error
    assert len(await single.ids(STORY, 3)) == 3


async def test_an_empty_prompt_is_an_error_that_no_retry_helps(single: Driver) -> None:
    (transcript,) = await single.run(single.prompt("", 5))
    assert (transcript.end.reason, transcript.end.retryable) == ("error", False)


async def test_who_waits_for_a_slot_gets_it_in_order(single: Driver) -> None:
    prompts = [single.prompt(STORY, 3) for _ in range(5)]
    ends = []

    async def end(id: str) -> None:
        await single.finished(id)
        ends.append(id)

    waiting = [asyncio.create_task(end(prompt.id)) for prompt in reversed(prompts)]
    await single.run(*prompts)
    await asyncio.gather(*waiting)
    assert ends == [prompt.id for prompt in prompts]


async def test_who_waits_for_a_slot_can_be_aborted(single: Driver) -> None:
    running, waiting, last = (single.prompt(STORY, 30) for _ in range(3))
    for prompt in (running, waiting, last):
        single.engine.admit(prompt)
    single.engine.abort(waiting.id)
    assert (await single.finished(waiting.id)).end.reason == "cancelled"
    assert len((await single.finished(running.id)).ids) == 30
    assert len((await single.finished(last.id)).ids) == 30
    assert single.transcripts[waiting.id].ids == []


async def test_a_llama_cpp_that_fails_ends_everyone_with_a_retryable_error(single: Driver) -> None:
    class Broken:
        def handle_completions(self, request: dict[str, Any], callback: Callable[[dict[str, Any]], bool]) -> None:
            callback({"error": {"code": 500, "message": "Compute error.", "type": "server_error"}})

    prompts = [single.prompt(STORY, 5) for _ in range(2)]
    single.engine._server = Broken()  # type: ignore[attr-defined]
    for prompt in prompts:
        single.engine.admit(prompt)
    transcripts = [await single.finished(prompt.id) for prompt in prompts]
    assert [(t.end.reason, t.end.retryable) for t in transcripts] == [("error", True)] * 2
    await single.over.wait()
    with pytest.raises(EngineDied, match="Compute error"):
        single.engine.admit(Prompt("late", [1], 5))


async def test_closing_ends_everyone_with_a_retryable_error(single: Driver) -> None:
    running, waiting = single.prompt(STORY, 50), single.prompt(STORY, 50)
    single.engine.admit(running)
    single.engine.admit(waiting)
    await single.speaking(running.id)
    await asyncio.to_thread(single.engine.close)
    for prompt in (running, waiting):
        end = (await single.finished(prompt.id)).end
        assert (end.reason, end.retryable) == ("error", True)


async def test_an_input_too_long_to_embed_is_refused(single: Driver) -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        await asyncio.to_thread(single.engine.embed, [[1] * 100])
    assert single.engine.embed([]) == []


def test_an_engine_that_was_not_started_admits_nobody() -> None:
    with pytest.raises(EngineDied, match="not started"):
        LlamaCppEngine("model.gguf").admit(Prompt("a", [1], 5))


def test_a_model_without_vocabulary_is_misconfigured(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(Misconfigured, match="no vocabulary"):
        LlamaCppEngine(str(tmp_path / "m.gguf")).start()


def test_a_model_that_llama_cpp_does_not_know_is_misconfigured(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "perceptron")
    writer.add_token_list(["a"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    engine = LlamaCppEngine(str(tmp_path / "m.gguf"))
    with pytest.raises(Misconfigured, match="cannot load"):
        engine.start()
    engine.close()


def test_a_process_may_exit_in_the_middle_of_an_answer() -> None:
    program = (
        "import asyncio, sys\n"
        "from workers.engines.base import Prompt\n"
        "from workers.engines.llamacpp import LlamaCppEngine\n"
        "async def main():\n"
        "    engine = LlamaCppEngine(sys.argv[1], max_running=2, max_context=2048)\n"
        "    engine.start()\n"
        "    for n in range(4):\n"
        "        engine.admit(Prompt(str(n), [1, 9690], 2000))\n"
        "    async for step in engine.steps():\n"
        "        break\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(smollm())], check=True, timeout=120)
