"""Settings: read once, refused with the name of the variable, shown with their source and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuechat.errors import Misconfigured
from queuechat.settings import load, sources


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("QUEUECHAT_REDIS_URL", "REDIS_URL", "QUEUECHAT_API_KEYS", "QUEUECHAT_API_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_a_flag_beats_the_environment_which_beats_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QUEUECHAT_API_PORT=1\nQUEUECHAT_UI_PORT=1\nQUEUECHAT_QUEUE_LIMIT=1\n")
    monkeypatch.setenv("QUEUECHAT_API_PORT", "2")
    monkeypatch.setenv("QUEUECHAT_UI_PORT", "2")
    loaded = load(api_port=3)
    assert (loaded.api_port, loaded.ui_port, loaded.queue_limit) == (3, 2, 1)
    by_name = {row.name: row.source for row in sources(loaded)}
    assert (by_name["ui_port"], by_name["queue_limit"], by_name["host"]) == ("QUEUECHAT_UI_PORT", ".env", "default")


def test_redis_url_is_honoured_when_ours_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://plain")
    assert load().redis_url == "redis://plain"
    monkeypatch.setenv("QUEUECHAT_REDIS_URL", "redis://ours")
    assert load().redis_url == "redis://ours"


def test_lists_are_words_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUECHAT_API_KEYS", "one, two,")
    assert [key.get_secret_value() for key in load().api_keys] == ["one", "two"]


def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUECHAT_API_PORT", "eighty")
    with pytest.raises(Misconfigured, match="QUEUECHAT_API_PORT"):
        load()


def test_secrets_are_masked_when_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUECHAT_REDIS_URL", "redis://:hunter2@host:6379/0")
    monkeypatch.setenv("QUEUECHAT_API_KEYS", "hunter2")
    monkeypatch.setenv("QUEUECHAT_KEY_PEPPER", "hunter2")
    shown = " ".join(row.value for row in sources(load()))
    assert "hunter2" not in shown
    assert "@host:6379" in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:se:cret@h", "redis://user:***@h"),
        ("redis://:s3cr@etpass@h", "redis://***@h"),
        ("redis://:pa/sswd@h/0", "redis://***@h/0"),
        ("rediss://:pa?ss#wd@h:1", "rediss://***@h:1"),
        ("redis://secret@h", "redis://***@h"),
        ("redis://se@cr:et@h", "redis://***@h"),
        ("//user:secret@h", "//user:***@h"),
        (":secret@h:6379", "***@h:6379"),
        ("redis://h/0?password=hunter2", "redis://h/0?password=***"),
        ("redis://h/0?db=1&PASSWORD=hun&ter2&username=me&db=2", "redis://h/0?db=1&PASSWORD=***&username=***&db=2"),
        ("redis://h/0?password=hun@ter2", "redis://***@***"),
        ("redis://u:p@h?ssl_password=hunter2", "redis://u:***@h?ssl_password=***"),
        ("unix://user:secret@/run/redis.sock?db=1", "unix://user:***@/run/redis.sock?db=1"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
    ],
)
def test_no_password_is_shown_however_badly_its_url_is_written(url: str, shown: str) -> None:
    (row,) = [row for row in sources(load(redis_url=url)) if row.name == "redis_url"]
    assert row.value == shown
