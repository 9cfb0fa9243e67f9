"""What a worker publishes of a sequence: ids, text and logprobs that belong together."""

from __future__ import annotations

import pytest

from queuechat.bus import Claim
from queuechat.errors import InvalidRequest
from queuechat.protocol import Chunk, Grammar, Job, Logprob, decode_event
from workers.engines.base import Caps
from workers.engines.echo import EchoVocabulary
from workers.prompting import Speech, prompt_of
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
