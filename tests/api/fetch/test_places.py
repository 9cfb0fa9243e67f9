"""Which URLs are followed at all, and which addresses may be behind them."""

from __future__ import annotations

import pytest

from api.fetch.addresses import networks, reachable
from api.fetch.places import MAX_URL, AllowList, NoPlace, Place, place_of
from queuechat.errors import Misconfigured

NO_PLACES = [
    *("", " ", "cat.png", "/cat.png"),
    *("//cdn.test/cat.png", "cdn.test/cat.png", "https:", "https://", "https:///cat.png"),
    *("https:cdn.test/cat.png", "https:/cdn.test/cat.png"),
    *("https:\\\\cdn.test\\cat.png", "https://cdn.test\\@evil.test/"),
    *("file:///etc/passwd", "file://localhost/etc/passwd"),
    *("gopher://cdn.test:6379/_FLUSHALL", "ftp://cdn.test/cat.png"),
    *("dict://cdn.test:11211/stat", "ldap://cdn.test/"),
    *("jar:https://cdn.test!/", "javascript:alert(1)", "blob:https://x/1"),
    *("ws://cdn.test/", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/info"),
    *("https://user@cdn.test/", "https://user:word@cdn.test/", "https://@cdn.test/", "https://cdn.test@evil.test/"),
    *("https://cdn.test:443@evil.test/", "https://evil.test#@cdn.test/x y", "https://:word@cdn.test/"),
    *("https://cdn.test:0/", "https://cdn.test:65536/"),
    *("https://cdn.test:x/", "https://cdn.test:-1/", "https://cdn.test:/"),
    *("https://2130706433/", "https://017700000001/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://127.1/"),
    *("https://127.0.1/", "https://0177.0.0.1/", "https://127.0.0.01/", "https://127.0.0.0x1/", "https://1.2.3.4.5/"),
    *("https://256.256.256.256/", "https://cdn.test.0x7f/", "https://0/", "https://00/", "https://0x/"),
    *("https://[::1/", "https://::1/", "https://[::1%25eth0]/"),
    *("https://[fe80::1%eth0]/", "https://[v1.x]/", "https://[]/"),
    *("https://127。0。0。1/", "https://①②⑦.0.0.1/", "https://ｌｏｃａｌｈｏｓｔ/", "https://bücher.test/", "https://cdn.test/ä"),
    *("https://cdn%2etest/", "https://%31%32%37.0.0.1/"),
    *("https://cdn..test/", "https://.cdn.test/", "https://-cdn.test/"),
    *("https://cdn.test\r\nHost: evil.test/", "https://cdn.test/\n"),
    *("https://cdn.test/\t", "https://cdn.test/\0", "\thttps://x/"),
    *(f"https://cdn.test/{'a' * MAX_URL}", f"https://{'a' * 64}.test/", f"https://{'a.' * 130}test/"),
]  # fmt: skip

INSIDE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1"),
    *("198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::ffff:127.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::"),
    *("2001:0:7f00:1::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("100::1", "5f00::1", "192.88.99.1", "3fff::1", "2001:10::1", "nonsense", "", "127.1", "0x7f.1", "2130706433"),
]  # fmt: skip
OUTSIDE = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
]


@pytest.mark.parametrize("url", NO_PLACES, ids=lambda url: repr(url[:50]))
def test_what_is_no_plain_url_of_a_host_leads_nowhere(url: str) -> None:
    with pytest.raises(NoPlace):
        place_of(url)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://cdn.test", Place("https", "cdn.test", 443, "/")),
        ("HTTPS://CDN.Test./Cat.PNG?a=%20b#c", Place("https", "cdn.test", 443, "/Cat.PNG?a=%20b")),
        ("http://cdn.test:8080/a?b", Place("http", "cdn.test", 8080, "/a?b")),
        ("https://xn--bcher-kva.test/", Place("https", "xn--bcher-kva.test", 443, "/")),
        ("https://8.8.8.8/", Place("https", "8.8.8.8", 443, "/")),
        ("https://[2606:4700:0:0::1111]/", Place("https", "2606:4700::1111", 443, "/")),
    ],
)
def test_a_plain_url_is_read_one_way(url: str, place: Place) -> None:
    assert place_of(url) == place
    assert place_of(place.url) == place


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_is_not_public_is_out_of_reach(address: str) -> None:
    assert not reachable(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert reachable(address)


def test_a_network_that_the_operator_names_may_be_reached_and_no_other() -> None:
    permitted = networks(["10.1.0.0/16", "fd00:1::/64"])
    assert [reachable(a, permitted) for a in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5")] == [True] * 3
    assert [reachable(a, permitted) for a in ("10.2.0.1", "127.0.0.1", "fd00:2::5", "169.254.169.254")] == [False] * 4


@pytest.mark.parametrize(
    ("entry", "admitted", "refused"),
    [
        ("cdn.test", "https://cdn.test/a", "https://a.cdn.test/"),
        ("cdn.test", "https://CDN.test./", "http://cdn.test/"),
        ("cdn.test", "https://cdn.test:443/", "https://cdn.test:8443/"),
        ("cdn.test:8443", "https://cdn.test:8443/", "https://cdn.test/"),
        ("http://cdn.test", "http://cdn.test/", "https://cdn.test/"),
        ("*.cdn.test", "https://a.b.cdn.test/", "https://cdn.test/"),
        ("*.cdn.test", "https://a.cdn.test/", "https://evilcdn.test/"),
        ("*", "https://any.test/", "http://any.test/"),
        ("[2606:4700::1111]", "https://[2606:4700::1111]/", "https://[2606:4700::1112]/"),
    ],
)
def test_an_entry_admits_what_it_says_and_nothing_beside_it(entry: str, admitted: str, refused: str) -> None:
    allowed = AllowList([entry])
    assert allowed.admits(place_of(admitted))
    assert not allowed.admits(place_of(refused))


def test_nothing_is_admitted_where_nothing_is_listed() -> None:
    assert not AllowList([]).admits(place_of("https://cdn.test/"))


@pytest.mark.parametrize(
    "word", ["", "https://", "ftp://cdn.test", "cdn.test/path", "user@cdn.test/", "bücher.test", "a:b:c"]
)
def test_an_entry_that_is_no_host_is_told_at_the_start(word: str) -> None:
    with pytest.raises(Misconfigured, match="QUEUECHAT_IMAGE_HOSTS"):
        AllowList([word])


def test_a_word_that_is_no_network_is_told_at_the_start() -> None:
    with pytest.raises(Misconfigured, match="QUEUECHAT_IMAGE_NETWORKS"):
        networks(["10.1.0.0/99"])
