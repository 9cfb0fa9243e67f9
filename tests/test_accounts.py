"""The file of people who may log in."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuechat.accounts import add_person, fits, read_people, record_of, remove_person
from queuechat.errors import InvalidRequest, Misconfigured, NotFound


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "people"


def test_people_come_get_new_passwords_and_go(file: Path) -> None:
    assert add_person(file, "ann", "correct horse") is True
    assert add_person(file, "bob", "battery staple") is True
    assert add_person(file, "ann", "another one") is False
    people = read_people(file)
    assert [fits(password, people["ann"]) for password in ("correct horse", "another one")] == [False, True]
    remove_person(file, "ann")
    assert list(read_people(file)) == ["bob"]
    with pytest.raises(NotFound, match="people list"):
        remove_person(file, "ann")


def test_the_file_is_its_owners_alone_and_holds_no_password(file: Path) -> None:
    add_person(file, "ann", "correct horse")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "correct" not in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["people"]


def test_two_who_have_the_same_password_have_different_hashes() -> None:
    assert record_of("correct horse") != record_of("correct horse")


def test_a_password_may_be_typed_composed_or_not() -> None:
    assert fits("cafe\u0301 noir", record_of("caf\u00e9 noir"))


def test_nobody_has_no_password() -> None:
    assert fits("", None) is False
    assert fits("", record_of("correct horse")) is False


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "a\nb", "é", "x" * 65])
def test_a_name_that_would_break_the_file_is_refused(file: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        add_person(file, name, "correct horse")
    assert not file.exists()


@pytest.mark.parametrize("password", ["short", "x" * 1025])
def test_a_password_is_neither_short_nor_endless(file: Path, password: str) -> None:
    with pytest.raises(InvalidRequest, match="8 to 1024"):
        add_person(file, "ann", password)


@pytest.mark.parametrize(
    "line",
    [
        "ann:hunter2",
        "ann",
        "",
        "ann:scrypt$16384$8$5$c2FsdHNhbHQ=$c2hvcnQ=",
        "ann:scrypt$1073741824$8$5$c2FsdHNhbHQ=$" + "A" * 43 + "=",
        "ann:scrypt$100$8$5$c2FsdHNhbHQ=$" + "A" * 43 + "=",
    ],
)
def test_a_line_that_is_no_person_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "people"
    file.write_text(f"bob:{record_of('battery staple')}\n{line}\n")
    with pytest.raises(Misconfigured, match="line 2"):
        read_people(file)
