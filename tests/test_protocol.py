"""What is put on the wire comes off it as it was."""

from __future__ import annotations

import orjson
import pytest

from queuechat.protocol import Chunk, Grammar, Job, Logprob, PrefixHash, Sampling, decode_event


def test_a_job_comes_back_with_its_grammar_and_its_logprobs() -> None:
    job = Job("a", "m", prompt="x", logprobs=5, grammar=Grammar("json_schema", '{"type": "object"}'))
    assert Job.decode(job.encode()) == job
    plain = Job("a", "m", prompt="x")
    assert Job.decode(plain.encode()) == plain


def test_a_job_tells_only_what_was_asked_for_so_that_an_earlier_release_can_read_it() -> None:
    plain = Job("a", "m", prompt="x", sampling=Sampling(seed=7), max_tokens=3)
    body = orjson.loads(plain.encode()[1:])
    assert body == {"id": "a", "model": "m", "prompt": "x", "max_tokens": 3, "sampling": {"seed": 7, "logit_bias": {}}}
    asked = Job("a", "m", prompt="x", sampling=Sampling(logit_bias={5: -1.0}), stop=["b"], fit=True, deadline_s=600.5)
    assert Job.decode(asked.encode()) == asked


def test_a_grammar_of_another_release_is_refused() -> None:
    raw = Job("a", "m", prompt="x", grammar=Grammar("regex", "a")).encode().replace(b'"kind"', b'"sort"')
    with pytest.raises(ValueError, match="this release"):
        Job.decode(raw)


def test_a_chunk_comes_back_with_logprobs_of_any_bytes() -> None:
    told = [Logprob(bytes(range(256)), -0.25, [(b"\xe6\x9d", -0.25), (b"", -3.5)]), Logprob(b" \xff", None)]
    chunk = Chunk(3, 2, "", [7, 8], logprobs=told)
    assert decode_event(chunk.encode()) == chunk


def test_logprobs_cost_nothing_where_nobody_asked_and_never_change_the_hash() -> None:
    assert b'"l"' not in Chunk(0, 1, "a", [1]).encode()
    told = Chunk(0, 1, "a", [1], logprobs=[Logprob(b"a", -1.0)])
    assert PrefixHash().update(told.hashed) == PrefixHash().update(Chunk(0, 1, "a", [1]).hashed)
