"""The laws of `workers.engines.base`, for every engine."""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import replace

import pytest

from queuechat.errors import EngineDied, InvalidRequest, UnsupportedParameter
from queuechat.protocol import Grammar, Sampling
from tests.workers.engines.conftest import ENGINES, each_of, started
from tests.workers.engines.driver import GREEDY, Driver
from workers.engines.base import Prompt

FOX = "The quick brown fox jumps over the lazy dog. Then the fox"
RIVER = "Once upon a time there was a river that"
HOT = Sampling(temperature=2.0, seed=11)
WARM = Sampling(temperature=0.8, seed=7)
IDS = {  # of the vocabularies
    "echo": 273,
    "shallow": 49152,
    "transformers": 49152,
    "llamacpp": 49152,
    "vision": 352,
    "remote": 256,
    "seq2seq": 352,
    "vllm": 49152,
}
RANDOM = {"vision", "seq2seq"}  # of these weights


def counting(driver: Driver) -> None:
    """For laws that count the tokens of a prefix, or name one."""
    if driver.engine.caps.units != "tokens":
        pytest.skip("its ids are bytes of text: what their tokens are, only the provider knows")


# 1. Contiguous offsets from the prefix, exactly one end.


async def test_offsets_run_on_from_the_prefix(driver: Driver) -> None:
    prefix = (await driver.ids(FOX, 6))[:4]
    fresh, resumed = await driver.run(driver.prompt(FOX, 8), driver.prompt(FOX, 8, prefix=prefix))
    for transcript, start in ((fresh, 0), (resumed, len(prefix))):
        expected = start
        for chunk in transcript.chunks:
            assert chunk.offset == expected
            assert chunk.ids
            expected += len(chunk.ids)


async def test_each_of_a_crowd_gets_exactly_one_end_and_nothing_after_it(driver: Driver) -> None:
    crowd = [driver.prompt(f"{RIVER} {n}", 2 + n) for n in range(8)]
    transcripts = await driver.run(*crowd)
    await driver.ids(FOX, 3)
    for transcript in transcripts:
        assert len(transcript.ends) == 1
        assert transcript.events[-1] is transcript.end
    assert driver.engine.running() == 0


async def test_sequences_may_be_admitted_while_others_run(driver: Driver) -> None:
    first = driver.prompt(RIVER, 12)
    driver.engine.admit(first)
    await driver.speaking(first.id)
    (second,) = await driver.run(driver.prompt(FOX, 4))
    await driver.finished(first.id)
    assert second.written <= 4


# 2. Never more than max_new - len(prefix_ids) tokens.


@pytest.mark.parametrize("max_new", [1, 2, 7])
async def test_no_more_tokens_than_asked_for_come(driver: Driver, max_new: int) -> None:
    (transcript,) = await driver.run(driver.prompt(RIVER, max_new))
    assert transcript.written == max_new
    assert transcript.end.reason == "length"


async def test_the_prefix_counts_against_the_limit(driver: Driver) -> None:
    counting(driver)
    prefix = await driver.ids(RIVER, 5)
    (transcript,) = await driver.run(driver.prompt(RIVER, 7, prefix=prefix))
    assert len(transcript.ids) == 2


async def test_a_prefix_that_is_complete_ends_at_once(driver: Driver) -> None:
    prefix = await driver.ids(RIVER, 4)
    limit = 1 if driver.engine.caps.units == "bytes" else 4  # how many tokens the text has, it can only guess
    (transcript,) = await driver.run(driver.prompt(RIVER, limit, prefix=prefix))
    assert transcript.ids == []
    assert transcript.end.reason == "length"


async def test_a_stop_id_ends_the_sequence(driver: Driver) -> None:
    ids = await driver.ids(RIVER, 8)
    wanted = ids[3]
    first = ids.index(wanted)
    if driver.kind == "echo":
        pytest.skip("echo never stops by itself")
    prompt = driver.prompt(RIVER, 8, stop=frozenset({wanted}))
    if not await honours(driver, "stop_ids", prompt):
        return
    transcript = driver.transcripts[prompt.id]
    assert transcript.end.reason == "stop"
    assert transcript.ids in (ids[:first], ids[: first + 1])


# 3. Abort.


async def test_an_aborted_sequence_gets_at_most_one_more_step_and_then_its_end(driver: Driver) -> None:
    prompt = driver.prompt(RIVER, 500)
    driver.engine.admit(prompt)
    before = len((await driver.speaking(prompt.id)).chunks)
    driver.engine.abort(prompt.id)
    transcript = await driver.finished(prompt.id)
    assert len(transcript.chunks) <= before + 1
    assert transcript.end.reason == "cancelled"
    await driver.ids(FOX, 3)
    assert transcript.events[-1] is transcript.end


async def test_a_sequence_can_be_aborted_before_its_first_token(driver: Driver) -> None:
    prompt = driver.prompt(" ".join([RIVER] * 20), 50)
    driver.engine.admit(prompt)
    driver.engine.abort(prompt.id)
    transcript = await driver.finished(prompt.id)
    assert len(transcript.chunks) <= 1
    assert transcript.end.reason == "cancelled"


async def test_aborting_twice_or_something_unknown_is_harmless(driver: Driver) -> None:
    prompt = driver.prompt(RIVER, 500)
    driver.engine.admit(prompt)
    await driver.speaking(prompt.id)
    for id in (prompt.id, prompt.id, "never heard of"):
        driver.engine.abort(id)
    await driver.finished(prompt.id)
    driver.engine.abort(prompt.id)
    await driver.ids(FOX, 2)
    assert len(driver.transcripts[prompt.id].ends) == 1


async def test_aborting_one_leaves_the_others_alone(driver: Driver) -> None:
    alone = await driver.ids(FOX, 12)
    staying, leaving = driver.prompt(FOX, 12), driver.prompt(RIVER, 500)
    for prompt in (staying, leaving):
        driver.engine.admit(prompt)
    await driver.speaking(leaving.id)
    driver.engine.abort(leaving.id)
    assert (await driver.finished(staying.id)).ids == alone
    assert (await driver.finished(leaving.id)).end.reason == "cancelled"


# 4. A parameter is honoured, or refused by name.


async def honours(driver: Driver, parameter: str, prompt: Prompt) -> bool:
    """Whether the engine takes the parameter; if not, it must have refused it by name."""
    try:
        driver.engine.admit(prompt)
    except UnsupportedParameter as refusal:
        if refusal.param != parameter:
            raise
        return False
    await driver.finished(prompt.id)
    return True


@pytest.mark.parametrize(
    ("parameter", "sampling"),
    [("top_k", replace(HOT, top_k=1)), ("top_p", replace(HOT, top_p=1e-6)), ("min_p", replace(HOT, min_p=1.0))],
)
async def test_a_filter_that_leaves_one_token_is_greedy_or_refused_by_name(
    driver: Driver, parameter: str, sampling: Sampling
) -> None:
    prompt = driver.prompt(FOX, 10, sampling=sampling)
    if await honours(driver, parameter, prompt):
        greedy = replace(GREEDY, seed=HOT.seed)
        assert driver.transcripts[prompt.id].ids == await driver.ids(FOX, 10, sampling=greedy)


@pytest.mark.parametrize(
    ("parameter", "sampling"),
    [
        ("repetition_penalty", replace(GREEDY, repetition_penalty=2.0)),
        ("presence_penalty", replace(GREEDY, presence_penalty=2.0)),
        ("frequency_penalty", replace(GREEDY, frequency_penalty=2.0)),
    ],
)
async def test_a_penalty_changes_what_is_said_or_is_refused_by_name(
    driver: Driver, parameter: str, sampling: Sampling
) -> None:
    if driver.kind == "echo":
        pytest.skip("echo draws no tokens")
    text = "one two three one two three one two three one two three"
    prompt = driver.prompt(text, 16, sampling=sampling)
    if await honours(driver, parameter, prompt):
        assert driver.transcripts[prompt.id].ids != await driver.ids(text, 16)


async def test_a_logit_bias_decides_or_is_refused_by_name(driver: Driver) -> None:
    counting(driver)
    wanted = driver.engine.vocabulary.encode(" fox", add_special=False)[0]
    prompt = driver.prompt(RIVER, 5, sampling=replace(GREEDY, logit_bias={wanted: 100.0}))
    if await honours(driver, "logit_bias", prompt):
        assert driver.transcripts[prompt.id].ids == [wanted] * 5


@pytest.mark.parametrize("place", ["prompt_ids", "prefix_ids"])
async def test_ids_outside_the_vocabulary_are_refused_and_hurt_nobody(driver: Driver, place: str) -> None:
    size = IDS[driver.kind]
    alone = await driver.ids(FOX, 8)
    staying = driver.prompt(FOX, 8)
    driver.engine.admit(staying)
    for odd in (-1, size, 999_999, 2**40):
        bad = driver.prompt(RIVER, 8)
        with pytest.raises(InvalidRequest, match=rf"\[0, {size}\)") as caught:
            driver.engine.admit(replace(bad, **{place: [1, odd]}))  # type: ignore[arg-type]
        assert caught.value.param == "prompt"
        assert bad.id not in driver.transcripts
    assert (await driver.finished(staying.id)).ids == alone
    assert driver.engine.running() == 0


async def test_the_first_and_the_last_id_of_the_vocabulary_are_taken(driver: Driver) -> None:
    ends = [0, IDS[driver.kind] - 1]
    (transcript,) = await driver.run(replace(driver.prompt("", 2), prompt_ids=ends))
    assert transcript.end.reason == "length"
    if not driver.engine.caps.embeds:
        return
    (vector,) = await asyncio.to_thread(driver.engine.embed, [ends])
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)


async def test_another_seed_or_choice_says_something_else(driver: Driver) -> None:
    first, same, other_seed, other_choice = await driver.run(
        driver.prompt(RIVER, 12, sampling=HOT),
        driver.prompt(RIVER, 12, sampling=HOT),
        driver.prompt(RIVER, 12, sampling=replace(HOT, seed=12)),
        driver.prompt(RIVER, 12, sampling=replace(HOT, choice=1)),
    )
    assert first.ids != other_seed.ids
    assert first.ids != other_choice.ids
    if driver.engine.caps.resume == "exact":
        assert first.ids == same.ids


# 5. Resume.


@pytest.mark.parametrize("cut", [1, 5, 15])
async def test_a_greedy_answer_cut_anywhere_goes_on_with_the_same_ids(driver: Driver, cut: int) -> None:
    (whole,) = await driver.run(driver.prompt(FOX, 16))
    if driver.engine.caps.units == "tokens":
        assert await driver.ids(FOX, 16, prefix=whole.ids[:cut]) == whole.ids[cut:]
        return
    delivered = [id for chunk in whole.chunks[:cut] for id in chunk.ids]  # as a worker that died has left it
    (rest,) = await driver.run(driver.prompt(FOX, 32, prefix=delivered))  # how many are left, it can only guess
    assert rest.ids
    assert rest.ids[: len(whole.ids) - len(delivered)] == whole.ids[len(delivered) :][: len(rest.ids)]


PENALISED = replace(WARM, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.3, top_p=0.9)


@pytest.mark.parametrize("cut", [1, 5, 15])
@pytest.mark.parametrize("sampling", [WARM, PENALISED], ids=["plain", "penalised"])
async def test_a_sampled_answer_cut_anywhere_goes_on_with_the_same_ids(
    driver: Driver, sampling: Sampling, cut: int
) -> None:
    if driver.engine.caps.resume != "exact":
        pytest.skip("this engine resumes in distribution only")
    whole = await driver.ids(RIVER, 16, sampling=sampling)
    assert await driver.ids(RIVER, 16, prefix=whole[:cut], sampling=sampling) == whole[cut:]


@pytest.mark.parametrize("sampling", [WARM, PENALISED], ids=["plain", "penalised"])
async def test_a_sampled_answer_is_the_same_alone_and_in_a_crowd(driver: Driver, sampling: Sampling) -> None:
    if driver.engine.caps.resume != "exact":
        pytest.skip("this engine resumes in distribution only")
    alone = await driver.ids(RIVER, 16, sampling=sampling)
    crowd = [driver.prompt(f"{n} {FOX}", 10 + n, sampling=replace(HOT, seed=n)) for n in range(8)]
    crowd.insert(4, driver.prompt(RIVER, 16, sampling=sampling))
    assert (await driver.run(*crowd))[4].ids == alone


# 6. Death.


def _break_transformers(driver: Driver) -> None:
    def fail() -> None:
        raise RuntimeError("a kernel failed")

    driver.engine._manager.batch_processor.update_batch = fail  # type: ignore[attr-defined]


def _break_forward(driver: Driver) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a kernel failed")

    driver.engine._model.forward = fail  # type: ignore[attr-defined]


def _break_vllm(driver: Driver) -> None:
    for process in driver.engine._llm.engine_core.resources.engine_manager.processes:  # type: ignore[attr-defined]
        process.kill()


KILLS = {
    "shallow": _break_transformers,
    "transformers": _break_transformers,
    "vision": _break_forward,
    "seq2seq": _break_forward,
    "vllm": _break_vllm,
}


@pytest.mark.parametrize("kind", each_of(*KILLS))
async def test_an_engine_that_dies_ends_everyone_with_a_retryable_error_and_admits_nobody(kind: str) -> None:
    driver = await started(kind, ENGINES[kind]())
    try:
        crowd = [driver.prompt(RIVER, 200) for _ in range(3)]
        for prompt in crowd:
            driver.engine.admit(prompt)
        await driver.speaking(crowd[0].id)
        KILLS[kind](driver)
        for prompt in crowd:
            end = (await driver.finished(prompt.id)).end
            assert (end.reason, end.retryable) == ("error", True)
        await asyncio.wait_for(driver.over.wait(), 60)
        with pytest.raises(EngineDied):
            driver.engine.admit(driver.prompt(FOX, 3))
    finally:
        await driver.close()


@pytest.mark.parametrize("kind", each_of(*ENGINES))
async def test_a_closed_engine_admits_nobody_and_may_be_closed_again(kind: str) -> None:
    driver = await started(kind, ENGINES[kind]())
    prompt = driver.prompt(FOX, 3)
    await driver.run(prompt)
    await driver.close()
    await driver.close()
    with pytest.raises(EngineDied):
        driver.engine.admit(replace(prompt, id="late"))


# 8. Grammars.

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 1, "maximum": 120},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
SCHEMA = Grammar("json_schema", json.dumps(PERSON))
NUMBER = Grammar("regex", r"[0-9]{3}/[a-f]{4}")
COLOURS = ["red", "grün", 'a "blue" one\n']
CHOICE = Grammar("choice", json.dumps(COLOURS))
SUM = Grammar("lark", 'start: /[0-9]{1,4}/ ("+" /[0-9]{1,4}/){1,3} "="')


def obeys(grammar: Grammar, text: str) -> bool:
    if grammar.kind == "json_schema":
        return set(json.loads(text)) == {"name", "age", "kind"} and json.loads(text)["kind"] in ("cat", "dog")
    if grammar.kind == "choice":
        return text in COLOURS
    return bool(re.fullmatch(grammar.text if grammar.kind == "regex" else r"\d{1,4}(\+\d{1,4}){1,3}=", text))


async def refusal(driver: Driver, prompt: Prompt) -> str | None:
    """What `admit`, or the end of the sequence, names as wrong."""
    try:
        driver.engine.admit(prompt)
    except InvalidRequest as error:
        return error.param
    end = (await driver.finished(prompt.id)).end
    assert (end.reason, end.retryable) == ("error", False)
    assert end.error
    return end.param


def room(driver: Driver) -> int:
    """Tokens in which an answer under a grammar comes to its end."""
    return 800 if driver.kind in RANDOM else 300  # which are in no hurry to end a string


def bound(driver: Driver) -> None:
    if not driver.engine.caps.grammars:
        pytest.skip("this engine has no grammars")


@pytest.mark.parametrize("grammar", [SCHEMA, NUMBER, CHOICE, SUM, Grammar("json_object")], ids=lambda g: g.kind)
async def test_a_grammar_is_obeyed_or_refused_by_name(speaker: Driver, grammar: Grammar) -> None:
    limit = 100 if grammar.kind == "json_object" else room(speaker)
    prompt = speaker.prompt(RIVER, limit, sampling=Sampling(seed=4), grammar=grammar)
    if grammar.kind not in speaker.engine.caps.grammars:
        with pytest.raises(UnsupportedParameter) as caught:
            speaker.engine.admit(prompt)
        assert caught.value.param == "response_format"
        return
    (answer,) = await speaker.run(prompt)
    text = speaker.engine.vocabulary.decode(answer.ids)
    if grammar.kind == "json_object":
        assert text.startswith("{")  # nothing bounds it
    else:
        assert answer.end.reason == "stop"
        assert obeys(grammar, text)


async def test_a_crowd_of_grammars_is_obeyed_each_its_own(speaker: Driver) -> None:
    bound(speaker)
    kinds = [SCHEMA, NUMBER, CHOICE, SUM]
    free = await speaker.ids(FOX, 12)
    crowd = [
        speaker.prompt(f"{n} {RIVER}", room(speaker), sampling=Sampling(seed=n, top_p=0.9), grammar=kinds[n % 4])
        for n in range(8)
    ]
    *answers, beside = await speaker.run(*crowd, speaker.prompt(FOX, 12))
    for n, answer in enumerate(answers):
        assert answer.end.reason == "stop"
        assert obeys(kinds[n % 4], speaker.engine.vocabulary.decode(answer.ids))
    assert beside.ids == free


async def test_an_answer_under_a_grammar_cut_anywhere_goes_on_with_the_same_ids(speaker: Driver) -> None:
    bound(speaker)
    if speaker.engine.caps.units == "bytes":
        pytest.skip("a provider elsewhere cannot go on with an answer in a form: it ends with an error that says so")
    (whole,) = await speaker.run(speaker.prompt(RIVER, room(speaker), sampling=WARM, grammar=SCHEMA))
    ends = speaker.engine.vocabulary.eos_ids
    cuts = range(1, len([id for id in whole.ids if id not in ends]), 8)
    prompts = [
        speaker.prompt(RIVER, room(speaker), prefix=whole.ids[:cut], sampling=WARM, grammar=SCHEMA) for cut in cuts
    ]
    for cut, resumed in zip(cuts, await speaker.run(*prompts), strict=True):
        assert resumed.ids == whole.ids[cut:]
        assert resumed.end.reason == "stop"
        assert resumed.chunks[0].offset == cut


async def test_a_grammar_that_is_cut_short_by_max_new_ends_with_length(driver: Driver) -> None:
    bound(driver)
    (answer,) = await driver.run(driver.prompt(RIVER, 3, sampling=WARM, grammar=SCHEMA))
    assert (answer.written, answer.end.reason) == (3, "length")


@pytest.mark.parametrize(
    "wrong",
    [
        Grammar("json_schema", '{"type": "nonsense"}'),
        Grammar("json_schema", '{"not": {"type": "string"}}'),
        Grammar("json_schema", '{"$ref": "http://localhost/schema"}'),
        Grammar("json_schema", '{"type"'),
        Grammar("choice", "[]"),
        Grammar("regex", "(never closed"),
        Grammar("lark", "start: nowhere"),
    ],
    ids=lambda g: g.text,
)
async def test_a_grammar_that_cannot_be_used_is_an_error_of_its_own(driver: Driver, wrong: Grammar) -> None:
    bound(driver)
    staying, bad = driver.prompt(FOX, 6), driver.prompt(RIVER, 6, grammar=wrong)
    driver.engine.admit(staying)
    assert await refusal(driver, bad) == "response_format"
    assert driver.transcripts[bad.id].ids == []
    assert (await driver.finished(staying.id)).written == 6


async def test_a_sequence_can_be_aborted_while_its_grammar_is_compiled(driver: Driver) -> None:
    bound(driver)
    prompt = driver.prompt(RIVER, 50, grammar=SCHEMA)
    driver.engine.admit(prompt)
    driver.engine.abort(prompt.id)
    assert (await driver.finished(prompt.id)).end.reason == "cancelled"
    await driver.ids(FOX, 3)
    assert driver.transcripts[prompt.id].ids == []
    assert driver.engine.running() == 0


# 9. Log probabilities.


async def test_logprobs_come_for_each_token_in_order_or_are_refused_by_name(driver: Driver) -> None:
    prompt = driver.prompt(RIVER, 8, sampling=replace(HOT, top_p=0.8), logprobs=5)
    if not driver.engine.caps.logprobs:
        with pytest.raises(UnsupportedParameter) as caught:
            driver.engine.admit(prompt)
        assert caught.value.param == "logprobs"
        return
    plain, told = await driver.run(replace(prompt, id="plain", logprobs=None), prompt)
    assert plain.logprobs == []
    if driver.engine.caps.resume == "exact":
        assert told.ids == plain.ids
    vocabulary = driver.engine.vocabulary
    assert [one.token for one in told.logprobs] == [vocabulary.bytes_of(id) for id in told.ids]
    if driver.kind not in RANDOM:  # which say half characters
        assert b"".join(one.token for one in told.logprobs).decode() == vocabulary.decode(told.ids)
    for one in told.logprobs:
        values = [value for _, value in one.top]
        assert values == sorted(values, reverse=True)
        assert len(values) == 5
        assert sum(math.exp(value) for value in values) <= 1.0001
        assert one.logprob is not None
        assert one.logprob <= values[0]
        assert one.logprob == dict(one.top).get(one.token, one.logprob)


async def test_logprobs_do_not_depend_on_sampling_and_may_have_no_alternatives(driver: Driver) -> None:
    if not driver.engine.caps.logprobs:
        pytest.skip("this engine has no logprobs")
    wanted = driver.engine.vocabulary.encode(" fox", add_special=False)[0]
    forced = replace(HOT, logit_bias={wanted: 100.0})
    free, biased = await driver.run(
        driver.prompt(RIVER, 1, logprobs=20), driver.prompt(RIVER, 1, sampling=forced, logprobs=20)
    )
    assert [value for _, value in free.logprobs[0].top] == pytest.approx(
        [value for _, value in biased.logprobs[0].top], abs=1e-3
    )
    assert (biased.logprobs[0].token, free.logprobs[0].token) == (b" fox", free.logprobs[0].top[0][0])
    (bare,) = await driver.run(driver.prompt(RIVER, 2, logprobs=0))
    assert [one.top for one in bare.logprobs] == [[], []]


async def test_more_alternatives_than_there_may_be_are_refused(driver: Driver) -> None:
    with pytest.raises(InvalidRequest):
        driver.engine.admit(driver.prompt(RIVER, 2, logprobs=21))


# What stands beside the laws: vocabulary and embeddings.


async def test_text_comes_back_from_its_ids(driver: Driver) -> None:
    vocabulary = driver.engine.vocabulary
    text = "Grüße, 東京! 12345 dogs' tails."
    if driver.kind != "echo":
        assert vocabulary.decode(vocabulary.encode(text, add_special=False)) == text
    half = vocabulary.encode("京", add_special=False)[:-1]
    assert vocabulary.decode(half).endswith("\ufffd")


async def test_the_bytes_of_tokens_make_the_text_however_its_characters_are_cut(driver: Driver) -> None:
    vocabulary = driver.engine.vocabulary
    text = "Grüße, 東京! 😀 <|im_end|>"
    pieces = [vocabulary.bytes_of(id) for id in vocabulary.encode(text, add_special=False)]
    assert b"".join(pieces).decode() == text
    assert any(piece and b"\xff" > piece[:1] > b"\x7f" for piece in pieces)
    assert all(vocabulary.bytes_of(id) for id in vocabulary.eos_ids)


async def test_embeddings_have_length_one_and_do_not_depend_on_company(driver: Driver) -> None:
    if not driver.engine.caps.embeds:
        pytest.skip("this engine does not embed")
    encode = driver.engine.vocabulary.encode
    batch = [encode(text, add_special=True) for text in (FOX, RIVER, FOX, "tea")]
    together = await asyncio.to_thread(driver.engine.embed, batch)
    (alone,) = await asyncio.to_thread(driver.engine.embed, batch[1:2])
    assert together[0] == pytest.approx(together[2], abs=1e-5)
    assert together[1] == pytest.approx(alone, abs=1e-4)
    for vector in together:
        assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)


async def test_inputs_with_ids_outside_the_vocabulary_are_not_embedded(driver: Driver) -> None:
    if not driver.engine.caps.embeds:
        pytest.skip("this engine does not embed")
    size = IDS[driver.kind]
    for odd in (-1, size, 999_999, 2**40):
        with pytest.raises(InvalidRequest, match=rf"\[0, {size}\)") as caught:
            await asyncio.to_thread(driver.engine.embed, [[1, 2], [1, odd]])
        assert caught.value.param == "input"
    assert len(await asyncio.to_thread(driver.engine.embed, [[1, 2]])) == 1


async def test_embedding_and_answering_go_on_side_by_side(driver: Driver) -> None:
    if not driver.engine.caps.embeds:
        pytest.skip("this engine does not embed")
    alone = await driver.ids(FOX, 16)
    prompt = driver.prompt(FOX, 16)
    driver.engine.admit(prompt)
    batch = [driver.engine.vocabulary.encode(RIVER, add_special=True)] * 3
    vectors = await asyncio.to_thread(driver.engine.embed, batch)
    assert (await driver.finished(prompt.id)).ids == alone
    assert vectors[0] == pytest.approx((await asyncio.to_thread(driver.engine.embed, batch[:1]))[0], abs=1e-4)
