"""The door of a whole page: nobody gets past it by any way that Gradio has, and nobody is somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from queuechat.accounts import add_person, remove_person
from queuechat.bus import Bus
from queuechat.errors import Misconfigured
from tests.ui.gate.judge import a_judge
from tests.ui.gate.page import Site, a_site
from tests.ui.scribe import Scribe
from ui.gate.login import COOKIE

GOOD = {"name": "ann", "password": "correct horse"}

GETS = """
/config /gradio_api/info /gradio_api/openapi.json /gradio_api/user /gradio_api/token /gradio_api/app_id
/gradio_api/login_check /gradio_api/startup-events /gradio_api/heartbeat/x /gradio_api/queue/data?session_hash=x
/gradio_api/queue/status /gradio_api/file=/etc/passwd /gradio_api/upload_progress?upload_id=x /gradio_api/call/x/y
/gradio_api/stream/a/b/1/playlist.m3u8 /gradio_api/runs /gradio_api/deep_link?session_hash=x /theme.css /robots.txt
/manifest.json /monitoring /static/x /assets/x /terms /login/ /login/x /LOGIN /x?/login
"""
POSTS = """
/ /gradio_api/queue/join /gradio_api/run/predict /gradio_api/api/predict /gradio_api/call/predict
/gradio_api/call/v2/predict /gradio_api/cancel /gradio_api/reset /gradio_api/upload /gradio_api/component_server
/gradio_api/process_recording /gradio_api/stream/x /gradio_api/vibe-edit /logout /terms?hash=x
"""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people"
    add_person(file, "ann", "correct horse")
    return file


@pytest.fixture
def url(redis_url: str, bus: Bus) -> str:
    """The database of `bus`, which is emptied for each test."""
    return f"{redis_url}/5"


@pytest.fixture(scope="module")
async def closed(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A page with a login, for tests that only knock."""
    file = tmp_path_factory.mktemp("closed") / "people"
    add_person(file, "ann", "correct horse")
    async with a_site(f"{redis_url}/7", ui_login="password", people_file=file, ui_login_tries=0) as site:
        yield site


async def logged_in(site: Site) -> None:
    answer = await site.http.post("/login", data=GOOD)
    assert answer.status_code == 303, answer.text


async def test_without_a_login_every_way_in_is_closed(closed: Site) -> None:
    closed.http.cookies.clear()
    for path in GETS.split():
        assert (await closed.http.get(path)).status_code == 401, path
    for path in POSTS.split():
        assert (await closed.http.post(path, json={"data": [], "session_hash": "x"})).status_code == 401, path
    front = await closed.http.get("/?view=chat")
    assert (front.status_code, front.headers["location"]) == (303, "login?view=chat")
    login = await closed.http.get("/login")
    assert "gradio" not in login.text.lower()
    assert "default-src 'none'" in login.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in login.headers["content-security-policy"]
    await logged_in(closed)
    assert (await closed.http.get("/config")).json()["username"] == "ann"
    assert (await closed.http.get("/gradio_api/token")).json() == {"token": None, "user": None}


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        (GOOD, {}, 303),
        (GOOD, {"origin": "http://evil.example"}, 400),
        (GOOD, {"origin": "null"}, 400),
        (GOOD, {"sec-fetch-site": "cross-site"}, 400),
        (GOOD, {"sec-fetch-site": "same-site"}, 400),
        (GOOD, {"sec-fetch-site": "same-origin"}, 303),
        ({**GOOD, "password": "correct horse "}, {}, 401),
        ({**GOOD, "password": ""}, {}, 401),
        ({**GOOD, "name": "nobody"}, {}, 401),
        ({**GOOD, "name": '"><script>x</script>'}, {}, 401),
        ({"name": "ann"}, {}, 400),
        ({**GOOD, "more": "x" * 10_000}, {}, 400),
    ],
)
async def test_only_the_right_password_from_the_page_itself_lets_in(
    closed: Site, form: dict[str, str], headers: dict[str, str], status: int
) -> None:
    closed.http.cookies.clear()
    answer = await closed.http.post("/login", data=form, headers=headers)
    assert answer.status_code == status
    assert (COOKIE in answer.cookies) is (status == 303)
    assert "<script" not in answer.text
    assert "correct horse" not in answer.text


async def test_a_login_cannot_be_made_stretched_or_passed_on(url: str, people: Path) -> None:
    add_person(people, "bob", "battery staple")
    async with a_site(url, ui_login="password", people_file=people) as site:
        answer = await site.http.post("/login", data=GOOD)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        shown = answer.cookies[COOKIE]
        label, expires, digest = shown.split(".")
        bob = (await site.http.post("/login", data={"name": "bob", "password": "battery staple"})).cookies[COOKIE]
        forged = (
            f"{label}.{int(expires) + 1}.{digest}",
            f"{bob.split('.')[0]}.{expires}.{digest}",
            f"{label}.{expires}.{'0' * 64}",
            f"{label}.{expires}.",
            f"{label}.{expires}.é",
            f"{label}.x.{digest}",
            f"\xff.{expires}.{digest}",
            "..",
            "",
        )
        async with httpx.AsyncClient(base_url=site.url) as other:
            for value in forged:
                headers = {b"cookie": f"{COOKIE}={value}".encode("latin-1")}
                assert (await other.get("/config", headers=headers)).status_code == 401, value
            assert (await other.get("/config", headers={"cookie": f"{COOKIE}={shown}"})).status_code == 200


@pytest.mark.parametrize("change", ["removed", "password"])
async def test_a_login_ends_with_its_person_or_their_password(
    url: str, people: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.gate.login._LOOK_S", 0.0)
    add_person(people, "bob", "battery staple")
    async with a_site(url, ui_login="password", people_file=people) as site:
        await logged_in(site)
        assert (await site.http.get("/config")).status_code == 200
        if change == "removed":
            remove_person(people, "ann")
        else:
            add_person(people, "ann", "another one")
        assert (await site.http.get("/config")).status_code == 401


async def test_logins_hold_over_a_restart_and_end_with_logging_out(url: str, people: Path) -> None:
    async with a_site(url, ui_login="password", people_file=people) as site:
        await logged_in(site)
        cookies = site.http.cookies
    async with a_site(url, ui_login="password", people_file=people) as site:
        site.http.cookies = cookies
        assert (await site.http.get("/config")).status_code == 200
        assert (await site.http.post("/logout", headers={"origin": "http://evil.example"})).status_code == 403
        assert (await site.http.post("/logout")).headers["location"] == "login"
        assert (await site.http.get("/config")).status_code == 401


async def test_passwords_cannot_be_guessed_for_long_from_one_address(url: str, people: Path) -> None:
    async with a_site(url, ui_login="password", people_file=people, ui_login_tries=3) as site:
        wrong = {**GOOD, "password": "wrong"}
        assert [(await site.http.post("/login", data=wrong)).status_code for _ in range(3)] == [401] * 3
        late = await site.http.post("/login", data=GOOD)  # also the right one: or guessing would go on
        assert late.status_code == 429
        assert 0 < int(late.headers["retry-after"]) <= 60
        assert "wait a minute" in late.text


async def test_a_proxys_word_on_names_is_taken_from_named_proxies_only(url: str) -> None:
    name = {"x-forwarded-user": "ann"}
    async with a_site(url, ui_login="header", ui_proxies="127.0.0.1") as site:
        assert (await site.http.get("/config")).status_code == 401
        assert (await site.http.get("/", headers={"x-forwarded-user": ""})).status_code == 401
        assert (await site.http.get("/config", headers=name)).json()["username"] == "ann"
        assert (await site.http.get("/login", headers={})).status_code == 401
    async with a_site(url, ui_login="header", ui_proxies="10.0.0.0/8") as site:
        assert (await site.http.get("/config", headers=name)).status_code == 401
    with pytest.raises(Misconfigured, match="QUEUECHAT_UI_PROXIES"):
        async with a_site(url, ui_login="header"):
            pass


async def test_a_page_that_nobody_could_log_in_to_does_not_start(url: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="queuechat people add"):
        async with a_site(url, ui_login="password", people_file=tmp_path / "none"):
            pass
    (tmp_path / "people").write_text("ann:hunter2\n")
    with pytest.raises(Misconfigured, match="line 1"):
        async with a_site(url, ui_login="password", people_file=tmp_path / "people"):
            pass


@pytest.mark.parametrize(("proxies", "shared"), [("127.0.0.1", False), ("", True)])
async def test_an_address_counts_as_told_by_named_proxies_only(
    url: str, bus: Bus, proxies: str, shared: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Scribe(bus, "m"), a_site(url, ui_rpm=1, ui_proxies=proxies) as site:
        first = await site.ask("hello", **{"x-forwarded-for": "192.0.2.1"})
        second = await site.ask("hello", **{"x-forwarded-for": "192.0.2.2"})
        forged = await site.ask("hello", **{"x-forwarded-for": "203.0.113.9, 192.0.2.1"})
    assert "You said: hello" in first
    assert ("a minute" in second) is shared
    assert "a minute" in forged
    assert ("name it in QUEUECHAT_UI_PROXIES" in caplog.text) is shared


async def test_a_program_that_calls_the_pages_own_endpoint_meets_the_same_gate(
    url: str, bus: Bus, tmp_path: Path
) -> None:
    terms = tmp_path / "terms.md"
    terms.write_text("Be kind.")
    async with a_judge() as judge, Scribe(bus, "m") as scribe:
        judged = {"ui_moderation": "endpoint", "ui_moderation_url": judge.url}
        async with a_site(url, ui_terms=terms, ui_rpm=3, ui_question_limit=20, ui_turn_limit=2, **judged) as site:
            assert "terms of use" in await site.ask("hello")
            shown = (await site.http.get("/terms")).json()
            assert shown["html"] == "<p>Be kind.</p>\n"
            assert (await site.http.post("/terms?hash=other")).status_code == 409
            evil = {"sec-fetch-site": "cross-site"}
            assert (await site.http.post(f"/terms?hash={shown['hash']}", headers=evil)).status_code == 403
            assert "terms of use" in await site.ask("hello")
            assert (await site.http.post(f"/terms?hash={shown['hash']}")).status_code == 204
            assert (await site.http.get("/terms")).status_code == 204
            assert "may have 20" in await site.ask("x" * 21)
            kept = [{"question": "one", "answer": "two"}] * 2
            assert "its 2 questions" in await site.ask("three", kept)
            assert "Moderation has flagged" in await site.ask("a bomb")
            assert "Moderation has flagged" in await site.ask("go on", [{"question": "a bomb", "answer": "ok"}])
            assert scribe.jobs == []
            assert "You said: hello" in await site.ask("hello")
            assert "questions a minute" in await site.ask("hello")
            assert len(scribe.jobs) == 1
