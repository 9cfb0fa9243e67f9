"""Pure parts: history and parameters to a job, stored conversations, exchanges to bubbles, words."""

from __future__ import annotations

import pytest

from queuechat.errors import BusUnavailable, DeadlineExceeded, InvalidRequest, NoWorker, QueueFull
from queuechat.protocol import Chunk, End, Failure, ModelCard, Reason, Times, WorkerCard
from queuechat.roster import Census, Model
from ui import wording
from ui.talk import view
from ui.talk.exchange import Exchange, Options, TextFile, history, restore, store
from ui.talk.following import Progress
from ui.talk.placing import order_for
from ui.talk.reply import frame_of

FOOTED = Exchange("2+2?", "4", footer="queued 0.1 s · 9 tokens · m", notice="careful")


def test_the_history_is_made_of_questions_and_answers_only() -> None:
    assert history([FOOTED, Exchange("and 3+3?")], "Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "and 3+3?"},
    ]


def test_a_question_that_was_never_answered_does_not_break_the_turns_of_the_template() -> None:
    roles = [message["role"] for message in history([Exchange("a", notice="no worker"), Exchange("b")], " ")]
    assert roles == ["user"]


def test_a_retried_question_is_sent_without_the_answer_that_it_had() -> None:
    assert history([FOOTED], "") == [{"role": "user", "content": "2+2?"}]


def test_parameters_become_the_jobs_sampling() -> None:
    options = Options("m", temperature=0.1, top_p=0.5, top_k=7, max_tokens=9, seed=3, stop="END\n\n###")
    (job,) = order_for([Exchange("hi")], options, ModelCard("m"), deadline_s=60).jobs
    assert (job.sampling.temperature, job.sampling.top_p, job.sampling.top_k, job.sampling.seed) == (0.1, 0.5, 7, 3)
    assert (job.max_tokens, job.stop, job.deadline_s, job.model) == (9, ["END", "###"], 60, "m")


def test_without_a_seed_each_job_draws_its_own() -> None:
    orders = [order_for([Exchange("hi")], Options("m"), ModelCard("m"), deadline_s=60) for _ in range(4)]
    seeds = {order.jobs[0].sampling.seed for order in orders}
    assert len(seeds) == 4


def test_a_conversation_survives_the_browsers_storage() -> None:
    assert restore(store([FOOTED])) == [FOOTED]


@pytest.mark.parametrize("junk", [None, "x", 3, [1], [{"answer": "no question"}], [{"question": 3}]])
def test_junk_from_the_browser_is_an_empty_conversation(junk: object) -> None:
    assert restore(junk) == []


def test_events_grow_the_text_and_the_end_brings_what_was_held_back() -> None:
    progress = Progress()
    for event in (Chunk(0, 2, "Hel"), Chunk(2, 1, "lo"), End(Reason.STOP, offset=4, text="!")):
        progress.accept(event)
    assert (progress.text, progress.tokens, progress.end is not None) == ("Hello!", 3, True)


def test_the_footer_tells_the_times_of_redis_clock() -> None:
    times = Times(queued=1000, started=1100, first=1340, ended=8090)
    line = wording.footer_line(End(Reason.STOP, offset=412, times=times), "smollm2")
    assert line == "queued 0.10 s · first token 0.24 s · 61 tok/s · 412 tokens · smollm2"


def test_the_footer_leaves_out_what_never_came_to_be() -> None:
    assert wording.footer_line(End(Reason.CANCELLED, times=Times(queued=1000)), "m") == "stopped · 0 tokens · m"


def test_waiting_tells_place_and_time() -> None:
    assert wording.waiting_line(3, 7.2) == "Number 3 in line · about 8 s"
    assert wording.waiting_line(1, 0) == "Next in line"


def test_the_status_line_counts_models_workers_and_jobs() -> None:
    census = Census({"m": Model(ModelCard("m"), [WorkerCard("w1", "m"), WorkerCard("w2", "m")])})
    assert wording.status_line(census, 1, 5) == "1 model · 2 workers · 1 waiting · 5 running"


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (QueueFull("full", retry_after=7), "Try again in 7"),
        (NoWorker("none"), "`queuechat worker --model m`"),
        (DeadlineExceeded("late"), "deadline"),
        (BusUnavailable("ConnectionError: refused"), "Redis does not answer"),
        (InvalidRequest("temperature must be at most 2"), "temperature must be at most 2"),
    ],
)
def test_each_error_has_words_for_people(error: Exception, part: str) -> None:
    words = wording.notice_of(error, "m")  # type: ignore[arg-type]
    assert part in words
    assert "ConnectionError" not in words


def test_an_answer_that_its_reader_stopped_is_an_answer_and_one_that_failed_has_a_notice() -> None:
    stopped = frame_of(Exchange("q"), Progress("half", tokens=3, end=End(Reason.CANCELLED, 3)), "m")
    assert (stopped.exchange.answer, stopped.exchange.notice) == ("half", "")
    failed = frame_of(Exchange("q"), Progress(end=End(Reason.ERROR, error=Failure("invalid_value", "too long"))), "m")
    assert "too long" in failed.exchange.notice


def test_footers_and_notices_are_bubbles_of_their_own_and_escaped() -> None:
    shown = view.messages([Exchange("q", "a", footer="<b>", notice="run `x`")])
    assert [m["content"] for m in shown] == [
        "q",
        "a",
        '<div class="qc-note">run <code>x</code></div>',
        '<div class="qc-foot">&lt;b&gt;</div>',
    ]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("is <b> bold? `a<b>`\n```\n<i>\n```", "is &lt;b> bold? `a<b>`\n```\n<i>\n```"),
        ("1 < 2 & 3", "1 < 2 & 3"),
        ("what is &lt;?", "what is &amp;lt;?"),
        ("</div><!-- ", "&lt;/div>&lt;!-- "),
    ],
)
def test_tags_in_a_question_are_shown_and_come_back_as_they_were_typed(typed: str, shown: str) -> None:
    assert view.question(typed) == shown
    assert view.typed(shown) == typed


def test_a_message_is_found_to_be_the_question_of_its_exchange() -> None:
    conversation = [Exchange("a", "b", "f", thoughts="t"), Exchange("c", images=(RED,)), Exchange("d")]
    shown = view.messages(conversation)
    found = {n: view.place_of(conversation, n, question=True) for n in range(len(shown))}
    assert {shown[n]["content"]: place for n, place in found.items() if place is not None} == {"a": 0, "c": 1, "d": 2}
    assert [view.place_of(conversation, n) for n in (1, 3, 4, 99, None)] == [0, 0, 1, None, None]


def test_a_frame_is_pending_then_live_then_settled() -> None:
    progress = Progress()
    assert frame_of(Exchange("q"), progress, "m").pending == "Thinking"
    progress.accept(Chunk(0, 1, "a"))
    assert frame_of(Exchange("q"), progress, "m").live == "1 token"
    progress.accept(End(Reason.STOP, offset=1))
    assert frame_of(Exchange("q"), progress, "m").settled
    assert frame_of(Exchange("q"), Progress(thoughts="Hm"), "m").live


RED = "data:image/png;base64,iVBORw0KGgo="
NOTES = TextFile("notes.md", "# Plan\n```\ncode\n```\n")


def test_images_and_texts_become_parts_that_the_api_takes() -> None:
    asked = Exchange("which colour?", "red", images=(RED,), files=(NOTES,))
    first, _, last = history([asked, Exchange("sure?")], "")
    assert first["content"] == [
        {"type": "image_url", "image_url": {"url": RED}},
        {"type": "text", "text": "notes.md:\n````\n# Plan\n```\ncode\n```\n````\n\nwhich colour?"},
    ]
    assert last["content"] == "sure?"


def test_attachments_survive_the_browsers_storage_and_junk_among_them_does_not() -> None:
    asked = Exchange("q", images=(RED,), files=(NOTES,), thoughts="Hm", model="m")
    assert restore(store([asked])) == [asked]
    row = {"question": "q", "images": [RED, "data:image/svg+xml;base64,PHN2Zz4=", f'{RED}" onerror="x', 3], "files": 3}
    assert restore([row]) == [Exchange("q", images=(RED,))]


def test_a_question_is_asked_again_with_what_was_attached() -> None:
    asked = Exchange("q", "a", "f", "n", "t", "m", (RED,), (NOTES,))
    assert asked.asked == Exchange("q", images=(RED,), files=(NOTES,))


def test_names_of_files_are_shown_as_they_are() -> None:
    (shown, _) = view.messages([Exchange("q", files=(TextFile("<b>*x*.md", "12345"),))])
    assert "&#60;b&#62;&#42;x&#42;&#46;md" in shown["content"]
    assert "5 B" in shown["content"]


PARAGRAPH = "some words " * 60


def test_a_long_answer_is_drawn_in_pieces_while_it_grows_and_as_one_when_it_is_there() -> None:
    text = "\n\n".join([PARAGRAPH.strip()] * 12)
    said = Exchange("q", text)
    growing = [m["content"] for m in view.messages([said], live="3 tokens")[1:-1]]
    assert "\n\n".join(growing) == text
    assert len(growing) > 3
    assert [m["content"] for m in view.messages([said])] == ["q", text]


@pytest.mark.parametrize("fence", ["```", "$$", "~~~~"])
def test_no_piece_ends_within_code_or_a_formula(fence: str) -> None:
    text = "\n\n".join([PARAGRAPH.strip(), fence, *["a line"] * 500, fence, PARAGRAPH.strip(), PARAGRAPH.strip()])
    pieces = view.pieces(text)
    assert "\n\n".join(pieces) == text
    assert len(pieces) > 1
    assert all(piece.count(fence) in (0, 2) for piece in pieces)


def test_a_list_is_not_cut_within_an_item() -> None:
    text = "\n\n".join([f"1. {PARAGRAPH}", f"   {PARAGRAPH}", f"2. {PARAGRAPH}", f"   {PARAGRAPH}", "end"])
    assert not any(piece.startswith(" ") for piece in view.pieces(text))


def test_thoughts_are_folded_once_they_are_over() -> None:
    thinking, said = Exchange("q", thoughts="Hm"), Exchange("q", "yes", thoughts="Hm")
    states = [view.messages([exchange], live="3 tokens")[1]["metadata"]["status"] for exchange in (thinking, said)]
    assert states == ["pending", "done"]
    assert view.messages([thinking])[1]["metadata"]["status"] == "done"
