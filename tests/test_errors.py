"""The error tree: every class has a code of its own, crosses the wire, and no foreign exception is left unmapped."""

from __future__ import annotations

import inspect

import pytest
from redis import exceptions as foreign

from queuechat import errors
from queuechat.bus import Bus
from queuechat.bus.faults import translate
from queuechat.errors import BusUnavailable, Misconfigured, QueuechatError, tree
from queuechat.wire import from_wire


def test_every_error_is_drawn_in_the_docstring_of_the_module() -> None:
    assert errors.__doc__ is not None
    drawn = errors.__doc__.split()
    assert [kind.__name__ for kind in tree() if kind.__name__ not in drawn] == []


def test_codes_are_unique_and_come_back_as_the_class_they_left_as() -> None:
    kinds = list(tree())
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert [type(from_wire(kind.code, "m", "p")) for kind in kinds] == kinds


def test_an_unknown_code_is_kept() -> None:
    error = from_wire("from_the_future", "m")
    assert (type(error), error.code) == (QueuechatError, "from_the_future")


@pytest.mark.parametrize(
    "kind", [kind for _, kind in inspect.getmembers(foreign, inspect.isclass)], ids=lambda kind: str(kind.__name__)
)
def test_every_exception_of_redis_becomes_one_of_ours(kind: type[Exception]) -> None:
    error = kind("1 host:1") if issubclass(kind, foreign.AskError) else kind("boom")
    assert isinstance(translate(error, "redis://h"), QueuechatError)


@pytest.mark.parametrize("text", ["OOM command not allowed", "MISCONF errors writing", "NOREPLICAS not enough"])
def test_a_redis_that_refuses_writes_is_a_reason_to_come_back_later(text: str) -> None:
    error = translate(foreign.ResponseError(text), "redis://h")
    assert isinstance(error, BusUnavailable)
    assert error.retry_after


async def test_a_redis_that_is_not_there_is_said_without_the_password() -> None:
    bus = Bus("redis://user:secret@127.0.0.1:1/0", patience_s=0)
    with pytest.raises(BusUnavailable, match="user:") as caught:
        await bus.open()
    assert "secret" not in str(caught.value)
    await bus.connection.close()


@pytest.mark.parametrize(
    "url", ["redis://:pa/sswd@h", "redis://u:pa?sswd@h", "redis://:pa#sswd@h", "redis://[pa:sswd@h"]
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Misconfigured, match="%XX") as caught:
        Bus(url)
    assert "pa" not in str(caught.value).replace("password", "")
    assert "sswd" not in str(caught.value).replace("password", "")


def test_a_url_of_another_kind_is_refused_with_the_kinds_there_are() -> None:
    with pytest.raises(Misconfigured, match="rediss://"):
        Bus("http://example")
