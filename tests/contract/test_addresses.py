"""Addresses of Redis: what they name, what is refused, and that no password is ever shown."""

from __future__ import annotations

import pytest

from queuechat.bus import Bus
from queuechat.bus.topology import parse
from queuechat.errors import Misconfigured
from queuechat.masking import without_secrets


@pytest.mark.parametrize(
    "url",
    [
        "redis://:12/34@h",
        "redis://:12?34@h",
        "redis://:12#34@h",
        "redis://user:34@12/34@h",
        "unix://:12/34@/run/redis.sock",
        "redis+cluster://u:12@h1,u:34@h2",
        "redis+cluster://:12/34@h1,h2",
        "redis+sentinel://:12/34@s1,s2/service",
        "redis://h/0?pass=12&other=34@h",
    ],
)
def test_an_address_whose_password_would_be_taken_for_something_else_is_refused_unshown(url: str) -> None:
    with pytest.raises(Misconfigured, match="%XX") as caught:
        Bus(url)
    assert "12" not in str(caught.value)
    assert "34" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://h:1/1",
        "redis+cluster://h:x",
        "redis+cluster://h,",
        "redis+cluster:///0",
        "redis+sentinel://s1",
        "redis+sentinel://s1/service/x",
        "redis+sentinel://s1/service/0/more",
        "unix+cluster:///run/redis.sock",
        "redis+other://h",
        "redis://h?no_such_option=1",
        "redis+cluster://h?no_such_option=1",
        "h:6379",
    ],
)
def test_an_address_that_says_nothing_we_know_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"redis\+sentinel://host:port,host:port/service"):
        Bus(url)


@pytest.mark.parametrize(
    ("url", "nodes", "service"),
    [
        ("redis+cluster://h1:7,h2,[::1]:9", [("h1", 7), ("h2", 6379), ("::1", 9)], ""),
        ("rediss+cluster://u:p%40%2C@h1/0?ssl_check_hostname=false", [("h1", 6379)], ""),
        ("redis+sentinel://s1,s2:7/main", [("s1", 26379), ("s2", 7)], "main"),
        ("rediss+sentinel://u:p@s1/main/3?sentinel_password=x", [("s1", 26379)], "main"),
    ],
)
def test_an_address_names_its_nodes_and_its_service(url: str, nodes: list[tuple[str, int]], service: str) -> None:
    place = parse(url)
    assert (place.nodes, place.service) == (nodes, service)
    Bus(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+cluster://u:secret@h1:1,h2:2/0", "redis+cluster://u:***@h1:1,h2:2/0"),
        ("rediss+cluster://:se,cret@h1,h2", "rediss+cluster://***@h1,h2"),
        ("redis+cluster://h1:1,u:secret@h2:2", "redis+cluster://h1:***@h2:2"),
        ("redis+sentinel://u:secret@s1:1,s2/main/0", "redis+sentinel://u:***@s1:1,s2/main/0"),
        ("redis+sentinel://s1/main?sentinel_password=secret", "redis+sentinel://s1/main?sentinel_password=***"),
        ("redis://:12/34@h", "redis://***@h"),
    ],
)
def test_an_address_with_many_nodes_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
