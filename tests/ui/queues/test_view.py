"""What the Queues tab says, without a browser."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from queuechat.letters import Letter
from queuechat.protocol import Depth, ModelCard, WorkerCard
from queuechat.roster import Census, Model
from queuechat.watching import Flow, Reading, Watch
from ui.queues import view
from ui.queues.spark import spark

EVIL = '<script>alert("&")</script>'


def watching(
    *workers: WorkerCard, depth: Depth | None = None, letters: list[Letter] | None = None, name: str = "m"
) -> Watch:
    watch = Watch()
    census = Census({name: Model(ModelCard(name, engine=EVIL), list(workers))})
    for at in (0.0, 2.0):
        watch.add(Reading(at, census, {name: depth or Depth()}, {name: Flow(int(at), 0)}, letters or []))
    return watch


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_an_empty_server_says_what_to_run() -> None:
    assert "queuechat worker --model smollm2" in view.page(Watch(), 0, away=False)


def test_a_redis_that_is_away_is_told_and_what_was_seen_stays() -> None:
    html = view.page(watching(WorkerCard("w", "m")), 0, away=True)
    assert "Redis does not answer" in html
    assert 'data-model="m"' in html


def test_a_model_without_a_worker_says_that_what_waits_is_kept() -> None:
    said = text_of(view.page(watching(depth=Depth(waiting=2, oldest_ms=3100)), 0, away=False))
    assert "no worker" in said
    assert "Waiting 2" in said
    assert "Oldest 3.1 s" in said
    assert "what waits is kept" in said


def test_rates_are_told_in_the_unit_that_is_easier_to_read() -> None:
    assert "Arrive 1.0/s" in text_of(view.page(watching(), 0, away=False))
    assert view._rate(0.2) == "12/min"
    assert view._rate(None) == "?"


def test_a_worker_is_shown_with_its_load_and_what_is_odd_of_it() -> None:
    worker = WorkerCard("w", "m", state="draining", running=3, capacity=4, tokens_per_s=88.4, restarts=2)
    html = view.page(watching(worker), 0, away=False)
    assert "width:75%" in html
    assert "3/4 88 tok/s draining · 2 restarts" in text_of(html)


def test_nothing_that_others_named_is_taken_for_html() -> None:
    worker = WorkerCard(EVIL, "m", engine=EVIL, device=EVIL, host=EVIL, quantization=EVIL)
    letter = Letter("1-0", "m", EVIL, 0.0, 1, 5, EVIL, EVIL)
    html = view.page(watching(worker, depth=Depth(dead=1), letters=[letter]), 0, away=False)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5


def test_more_letters_than_are_shown_are_counted() -> None:
    letter = Letter("1-0", "m", "0123456789", 1000.0, 0, 0, "w", "")
    said = text_of(view.page(watching(depth=Depth(dead=4), letters=[letter]), 1120.0, away=False))
    assert "4 dead letters 01234567…" in said
    assert "before its first token" in said
    assert "2 minutes ago" in said
    assert "and 3 more" in said


def test_a_line_has_a_gap_where_nothing_is_known() -> None:
    svg = spark([None, 0, 10, None, 5], "tok/s")
    lines = [path.get("d", "") for path in ElementTree.fromstring(svg) if path.get("class") == "line"]
    assert lines == ["M50.0,38.5 L100.0,2.5", "M200.0,20.5 L200.0,20.5"]


def test_a_line_of_nothing_is_empty_and_still_an_image() -> None:
    assert list(ElementTree.fromstring(spark([None, None], "<tok/s>"))) == []
