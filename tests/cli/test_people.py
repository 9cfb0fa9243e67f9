"""Who may log in at the page, as an operator says."""

from __future__ import annotations

from queuechat.accounts import fits, read_people
from tests.cli.command import Cli


async def test_people_are_added_listed_and_removed(cli: Cli) -> None:
    assert await cli("people", "list") == (0, "nobody may log in; see: queuechat people add\n", "")
    code, out, err = await cli("people", "add", "ann", stdin=b"correct horse\n")
    assert (code, out) == (0, "added ann\n")
    assert "QUEUECHAT_UI_LOGIN=password" in err
    assert fits("correct horse", read_people(cli.folder / "people")["ann"])
    answer = await cli("people", "add", "ann", stdin=b"battery staple\n", QUEUECHAT_UI_LOGIN="password")
    assert answer == (0, "ann has a new password\n", "")
    assert await cli.json("people", "list") == [{"name": "ann"}]
    assert await cli("people", "remove", "ann") == (0, "removed ann\n", "")


async def test_what_will_not_do_is_refused_in_one_line(cli: Cli) -> None:
    for arguments, stdin, said in (
        (("add", "ann"), b"short\n", "8 to 1024 characters"),
        (("add", "a:b"), b"correct horse\n", "'a:b' is not 1 to 64 letters"),
        (("remove", "nobody"), b"", "there is nobody called 'nobody'"),
    ):
        code, _, err = await cli("people", *arguments, stdin=stdin)
        assert (code, said in err) == (1, True)
