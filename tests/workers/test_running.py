"""What a worker publishes of a sequence: ids, text and logprobs that belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from queuechat.bus import Claim
from queuechat.elsewhere import ProviderFailed
from queuechat.errors import ContextLengthExceeded, InvalidRequest
from queuechat.protocol import Chunk, End, Failure, Grammar, Job, Logprob, Reason, decode_event
from workers.engines.base import Caps, Finished
from workers.engines.byte_vocabulary import ByteVocabulary
from workers.engines.echo import EchoVocabulary
from workers.prompting import Speech, prompt_of
from workers.relaying import relayed_prompt
from workers.running import Generation
from workers.text.transcript import Transcript

SPEECH = Speech(EchoVocabulary(), "")
CAPS = Caps(100, 1, "exact", True, "cpu")


def generation(job: Job, prefix: list[int]) -> Generation:
    prompt = prompt_of(job, job.id, [1], prefix, SPEECH, CAPS)
    transcript = Transcript(SPEECH.vocabulary, stop=job.stop, stop_ids=prompt.stop_ids)
    return Generation(Claim(job, "nonce", 1, len(prefix), "", 1000), prompt, transcript)


def test_logprobs_are_published_with_their_tokens_and_none_beyond_a_stop_string() -> None:
    held = generation(
        Job("a", "m", prompt="x", stop=["c"], logprobs=0), SPEECH.vocabulary.encode("a", add_special=False)
    )
    ids = SPEECH.vocabulary.encode("bcd", add_special=False)
    told = [Logprob(piece, -1.0) for piece in (b"b", b"c", b"d")]
    held.add(ids[:1], told[:1])
    held.add(ids[1:], told[1:])
    item = held.flush()
    assert item is not None
    chunk = decode_event(item.chunk)
    assert isinstance(chunk, Chunk)
    assert (chunk.offset, chunk.text, chunk.ids, chunk.logprobs) == (1, "b", ids[:2], told[:2])


def test_a_failure_comes_after_all_that_was_said_before_it() -> None:
    job = Job("a", "m", messages=[{"role": "user", "content": "x" * 40}])
    prompt = relayed_prompt(job, "a#1", [], replace(CAPS, units="bytes"))
    held = Generation(Claim(job, "nonce", 1, 0, "", 1000), prompt, Transcript(ByteVocabulary()))
    held.add(list(b"five bytes"))
    held.ended(Finished("a#1", "error", "broken", failure=ProviderFailed("broken")))
    assert held.over
    assert held.end() is None
    assert held.flush() is not None
    end = held.end()
    assert end is not None
    assert (end.reason, end.offset, end.generated, end.error) == (
        Reason.ERROR,
        10,
        3,
        Failure("provider_failed", "broken"),
    )
    assert end.prompt_tokens >= 10


def test_logprobs_and_grammar_of_a_job_reach_the_engine() -> None:
    grammar = Grammar("regex", "a+")
    prompt = prompt_of(Job("a", "m", prompt="x", logprobs=3, grammar=grammar), "a", [1], [], SPEECH, CAPS)
    assert (prompt.logprobs, prompt.grammar) == (3, grammar)


@pytest.mark.parametrize(
    ("job", "param"),
    [
        (Job("a", "m", prompt="x", grammar=Grammar("choice", "[]")), "response_format"),
        (Job("a", "m", prompt="x", grammar=Grammar("regex", "a"), ignore_eos=True), "ignore_eos"),
    ],
)
def test_a_grammar_that_makes_no_sense_is_refused_before_the_engine_hears_of_it(job: Job, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        prompt_of(job, "a", [1], [], SPEECH, CAPS)
    assert caught.value.param == param


def test_an_answer_that_does_not_fit_is_refused_or_cut_as_its_job_says() -> None:
    job = Job("a", "m", prompt="x", max_tokens=CAPS.context_length)
    with pytest.raises(ContextLengthExceeded):
        prompt_of(job, "a", [1], [], SPEECH, CAPS)
    assert prompt_of(replace(job, fit=True), "a", [1], [], SPEECH, CAPS).max_new == CAPS.context_length - 1
    assert prompt_of(replace(job, fit=True, max_tokens=5), "a", [1], [], SPEECH, CAPS).max_new == 5
    with pytest.raises(ContextLengthExceeded):
        prompt_of(replace(job, fit=True), "a", [1] * CAPS.context_length, [], SPEECH, CAPS)


def test_the_end_tells_the_stop_string_that_was_met() -> None:
    held = generation(Job("a", "m", prompt="x", stop=["c", "d"]), [])
    held.add(SPEECH.vocabulary.encode("abdc", add_special=False), [])
    held.flush()
    end = held.end()
    assert end is not None
    raw = b'1{"o":0,"end":' + end.encode_verdict() + b',"at":[1,2,3,4]}'
    told = decode_event(raw)
    assert isinstance(told, End)
    assert (told.reason, told.stop) == (Reason.STOP, "d")
