"""The judge finds what is wrong: true histories, doctored."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.history import Ending, History, Hit, Piece, Reading, Request, judge, pauses
from tests.chaos.questions import Catalogue, Question

Doctor = Callable[[Request], object]


@pytest.fixture(scope="module")
async def catalogue() -> Catalogue:
    return await Catalogue.write(random.Random(1), topics=3, longest=40)


def a_question(catalogue: Catalogue) -> Question:
    return catalogue.draw(random.Random(2), 24, 24)


def a_true_one(catalogue: Catalogue) -> Request:
    """Read in two parts: tokens [0, 12) one by one, then [12, 24) by threes, and the end."""
    request = Request(a_question(catalogue), "client")
    ids = catalogue.answer(request.question)
    for start, end, step in ((0, 12, 1), (12, 24, 3)):
        reading = request.read("job", start)
        for at in range(start, end, step):
            reading.hear(catalogue.spell(ids[at : at + step]), at, ids[at : at + step])
    request.readings[-1].end("length", offset=24)
    return request


def a_true_text(catalogue: Catalogue) -> Request:
    """Half of the text, then all of it, as OpenAI's stream brings it."""
    request = Request(a_question(catalogue), "post")
    text = catalogue.spell(catalogue.answer(request.question))
    request.read("job").hear(text[: len(text) // 2])
    again = request.read("job")
    again.hear(text)
    again.end("length")
    return request


def drop_a_piece(request: Request) -> None:
    del request.readings[1].pieces[1]


def repeat_a_piece(request: Request) -> None:
    request.readings[1].pieces.insert(1, request.readings[1].pieces[0])


def change_an_id(request: Request) -> None:
    piece = request.readings[0].pieces[3]
    request.readings[0].pieces[3] = replace(piece, ids=[piece.ids[0] - 1 or 2])


def change_a_text(request: Request) -> None:
    request.readings[-1].pieces[-1] = replace(request.readings[-1].pieces[-1], text=" nonsense")


def lose_the_tail(request: Request) -> None:
    request.readings[-1].pieces.pop()


DOCTORED: list[tuple[Doctor, str]] = [
    (drop_a_piece, "a gap: token 18 came where 15 was due"),
    (repeat_a_piece, "a repeat: token 12 came where 15 was due"),
    (change_an_id, "tokens [3, 4) are not those of the reference"),
    (change_a_text, "the text is not the reference's"),
    (lose_the_tail, "the text ends after"),
    (lambda r: r.readings[-1].endings.clear(), "it ended 0 times"),
    (lambda r: r.readings[-1].end("length", offset=24), "it ended 2 times"),
    (lambda r: r.readings[0].end("length", offset=24), "it was read on after its end"),
    (lambda r: r.readings[-1].hear("", 24, []), "1 pieces came after the end"),
    (lambda r: r.readings[-1].endings.__setitem__(0, Ending("dead", 24, "", 0.0)), "it ended with 'dead'"),
    (lambda r: r.readings[-1].endings.__setitem__(0, Ending("length", 23, "", 0.0)), "it ended at 23 of 24 tokens"),
    (lambda r: setattr(r.readings[1], "start", 11), "read on from 11 after 12 tokens"),
    (lambda r: setattr(r.readings[1], "job", "other"), "it was answered by 2 jobs"),
    (lambda r: setattr(r, "lost", "bored"), "its client gave up: bored"),
    (lambda r: r.readings.clear(), "it was never answered"),
]


@pytest.mark.parametrize("make", [a_true_one, a_true_text])
def test_a_true_history_is_without_fault(catalogue: Catalogue, make: Callable[[Catalogue], Request]) -> None:
    assert judge(make(catalogue), catalogue) == []


@pytest.mark.parametrize(("doctor", "fault"), DOCTORED, ids=[fault for _, fault in DOCTORED])
def test_a_doctored_history_is_found_out(catalogue: Catalogue, doctor: Doctor, fault: str) -> None:
    request = a_true_one(catalogue)
    doctor(request)
    assert any(found.startswith(fault) for found in judge(request, catalogue))


def test_a_replay_that_contradicts_what_was_delivered_is_found_out(catalogue: Catalogue) -> None:
    request = a_true_text(catalogue)
    request.readings[0].pieces[0] = Piece(-1, (), " something else", 0.0)
    assert any(found.startswith("read again, it says something else") for found in judge(request, catalogue))


def test_a_request_that_is_not_over_counts_against_the_run(catalogue: Catalogue) -> None:
    history = History(catalogue)
    request = history.begin(a_question(catalogue), "client")
    assert history.faults() == [f"client {request.key}: it is not over"]


def test_a_history_keeps_only_what_is_wrong(catalogue: Catalogue) -> None:
    history = History(catalogue)
    for make in (a_true_one, a_true_text):
        request = make(catalogue)
        history.open[request.key] = request
        history.settle(request)
    wrong = a_true_one(catalogue)
    drop_a_piece(wrong)
    history.open[wrong.key] = wrong
    history.settle(wrong)
    assert (history.answered, history.tokens, history.billed) == (2, 48, {"job": 24})
    assert [request for request, _ in history.faulty] == [wrong]


def test_a_pause_is_the_longest_gap_around_a_kill_less_the_usual_one(catalogue: Catalogue) -> None:
    request = Request(a_question(catalogue), "client")
    arrivals = (0.0, 0.1, 0.2, 0.35, 1.35, 1.45, 1.55)  # killed at 0.3; what was under way still came at 0.35
    request.readings.append(Reading("job", pieces=[Piece(k, (1,), "", at) for k, at in enumerate(arrivals)]))
    request.hits += [Hit("kill", 0.3), Hit("kill", 0.9), Hit("stop", 1.5)]
    found = list(pauses(request, 0.1))
    assert [(kind, round(pause, 3)) for kind, pause in found] == [("kill", 0.9), ("stop", 0.0)]


async def test_the_reference_of_a_short_answer_begins_that_of_a_long_one(catalogue: Catalogue) -> None:
    question = a_question(catalogue)
    assert catalogue.answer(replace(question, tokens=7)) == catalogue.answer(question)[:7]
