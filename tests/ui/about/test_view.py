"""What the About tab says, without a browser."""

from __future__ import annotations

import pytest

from queuechat import __version__
from queuechat.protocol import ModelCard, WorkerCard
from queuechat.roster import Census, Model
from ui.about import view

EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("host", "api"),
    [
        ("chat.example:7860", "http://chat.example:8000"),
        ("127.0.0.1:7860", "http://127.0.0.1:8000"),
        ("[::1]:7860", "http://[::1]:8000"),
        ("", "http://127.0.0.1:8000"),
    ],
)
def test_the_api_is_beside_the_page_under_the_name_that_the_browser_uses(host: str, api: str) -> None:
    assert view.api_beside(host, 8000) == api


def test_it_says_the_version_and_what_each_live_model_can_do() -> None:
    live = Model(ModelCard("m", ["alias"], 2048, "llamacpp", vision=True), [WorkerCard("w", "m")])
    gone = Model(ModelCard("gone"), [])
    html = view.page(Census({"m": live, "gone": gone}), "http://h:1", record_chats=False)
    for said in (__version__, ">m<", "alias", "2,048 tokens", "llamacpp", "images", "http://h:1/docs"):
        assert said in html
    assert ">gone<" not in html


@pytest.mark.parametrize("on", [False, True])
def test_it_says_whether_chats_are_written_down(on: bool) -> None:
    html = view.page(Census(), "http://h:1", record_chats=on)
    assert ("are written to the log as well" in html) is on
    assert ("are not written to any log" in html) is not on


def test_nothing_that_others_named_is_taken_for_html() -> None:
    card = ModelCard("m", [EVIL], engine=EVIL, source=EVIL, parent=EVIL, quantization=EVIL)
    census = Census({"m": Model(card, [WorkerCard("w", "m")])})
    assert "<script" not in view.page(census, view.api_beside(EVIL, 8000), record_chats=False)
