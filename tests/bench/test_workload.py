"""What is asked: by seed, of the lengths that were wanted, nothing twice."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import pytest

from queuechat.bench.dataset import asks_from
from queuechat.bench.lengths import Lengths
from queuechat.bench.workload import Synthetic, parse_ids
from queuechat.errors import InvalidRequest


def lengths(text: str) -> Lengths:
    return Lengths.parse(text, param="--input-len")


def test_a_seed_asks_the_same_again_and_another_one_something_else() -> None:
    workload = Synthetic(lengths("uniform:4:40"), lengths("lognormal:50:0.5:200"))
    assert workload.asks(50, 3) == workload.asks(50, 3)
    assert not {str(ask.prompt) for ask in workload.asks(50, 3)} & {str(ask.prompt) for ask in workload.asks(50, 4)}


def test_more_requests_begin_with_the_same_ones() -> None:
    workload = Synthetic(lengths("uniform:4:40"), lengths("8"))
    assert workload.asks(60, 0)[:20] == workload.asks(20, 0)


def test_no_two_prompts_have_a_first_word_that_neighbours_share() -> None:
    asks = Synthetic(lengths("16"), lengths("8")).asks(500, 1)
    heads = [str(ask.prompt).split()[:3] for ask in asks]
    assert all(before[0] != after[0] for before, after in pairwise(heads))
    assert len({tuple(head) for head in heads}) == 500


def test_a_shared_prefix_stands_before_every_prompt_and_is_not_counted_in_its_length() -> None:
    asks = Synthetic(lengths("5"), lengths("8"), shared_prefix=20).asks(30, 1)
    words = [str(ask.prompt).split() for ask in asks]
    assert {len(row) for row in words} == {25}
    assert len({tuple(row[:20]) for row in words}) == 1
    assert len({tuple(row[20:23]) for row in words}) == 30


def test_token_ids_come_out_of_the_range_that_was_given() -> None:
    asks = Synthetic(lengths("12"), lengths("8"), ids=parse_ids("100:163")).asks(100, 1)
    ids = [ask.prompt for ask in asks]
    assert all(len(row) == 12 and set(row) <= set(range(100, 164)) for row in ids)
    assert len({str(row) for row in ids}) == 100


def test_lengths_are_spread_as_asked() -> None:
    rng = random.Random(1)
    uniform = [lengths("uniform:10:20").draw(rng) for _ in range(2000)]
    assert (min(uniform), max(uniform)) == (10, 20)
    assert fmean(uniform) == pytest.approx(15, abs=0.3)
    drawn = [lengths("lognormal:100:0.8:400").draw(rng) for _ in range(2000)]
    assert median(drawn) == pytest.approx(100, rel=0.1)
    assert max(drawn) == 400
    assert min(drawn) >= 1


@pytest.mark.parametrize(
    "text",
    ["", "0", "-3", "2.5", "nan", "uniform:5", "uniform:9:3", "lognormal:0:1", "lognormal:9:-1", "zipf:3", "1:2"],
)
def test_what_is_no_length_is_refused_with_the_forms_that_there_are(text: str) -> None:
    with pytest.raises(InvalidRequest, match="uniform:LOW:HIGH") as caught:
        lengths(text)
    assert caught.value.param == "--input-len"


@pytest.mark.parametrize("text", ["", "5", "9:3", "a:b", "-1:4"])
def test_what_is_no_range_of_ids_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="LOW:HIGH"):
        parse_ids(text)


def test_sharegpt_gives_first_questions_and_lengths_of_their_answers(tmp_path: Path) -> None:
    file = tmp_path / "sharegpt.json"
    talks = [
        {"conversations": [{"from": "human", "value": f"question {k}"}, {"from": "gpt", "value": "x" * 40}]}
        for k in range(5)
    ]
    file.write_text(json.dumps([*talks, {"conversations": [{"from": "gpt", "value": "I begin"}, {"from": "human"}]}]))
    asks = asks_from(file, 5, 0, None)
    assert {str(ask.prompt) for ask in asks} == {f"question {k}" for k in range(5)}
    assert {ask.output_len for ask in asks} == {10}
    assert asks == asks_from(file, 5, 0, None)


def test_lines_give_prompts_ids_and_conversations(tmp_path: Path) -> None:
    file = tmp_path / "asks.jsonl"
    rows = [{"prompt": "a", "output_len": 4}, {"prompt": [1, 2], "max_tokens": 5}]
    rows.append({"messages": [{"role": "user", "content": "b"}], "max_tokens": 6})
    file.write_text("\n".join(map(json.dumps, rows)))
    assert sorted(ask.output_len for ask in asks_from(file, 3, 0, None)) == [4, 5, 6]
    assert {ask.output_len for ask in asks_from(file, 3, 0, lengths("9"))} == {9}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"prompt": "a", "output_len": 4}', "has 1 prompts and 2 are wanted"),
        ('{"prompt": "a"}\n{"prompt": "b"}', "give --output-len"),
        ('{"text": "a"}\n{"prompt": "b"}', "record 1: it must have"),
        ("{", "neither JSON"),
    ],
)
def test_a_file_that_cannot_be_asked_from_says_why(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "asks.jsonl"
    file.write_text(text)
    with pytest.raises(InvalidRequest, match=says):
        asks_from(file, 2, 0, None)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        asks_from(tmp_path / "none", 1, 0, None)
