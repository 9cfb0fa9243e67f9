"""Pseudonyms: the same for the same person, for ever, and nothing to anybody else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from queuechat.bus import Bus
from ui.gate.people import SCOPE_KEY, STRANGER, Visit, person_of, pseudonym, visit_of
from ui.gate.seal import Seal, open_seal


async def test_all_processes_of_a_page_have_the_same_secret_also_after_a_restart(bus: Bus) -> None:
    first, second = await open_seal(bus), await open_seal(bus)
    assert pseudonym(first, address="192.0.2.7") == pseudonym(second, address="192.0.2.7")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"address": "192.0.2.7"}, {"address": "192.0.2.7"}, True),
        ({"address": "192.0.2.7"}, {"address": "192.0.2.8"}, False),
        ({"address": "2001:db8:1:2::3"}, {"address": "2001:db8:1:2:ffff::4"}, True),
        ({"address": "2001:db8:1:2::3"}, {"address": "2001:db8:1:3::3"}, False),
        ({"name": "ann", "address": "192.0.2.7"}, {"name": "ann", "address": "192.0.2.8"}, True),
        ({"name": "192.0.2.7"}, {"address": "192.0.2.7"}, False),
    ],
)
def test_a_person_is_a_login_or_an_address(one: dict[str, str], other: dict[str, str], same: bool) -> None:
    seal = Seal(b"secret")
    assert (pseudonym(seal, **one) == pseudonym(seal, **other)) is same


def test_a_pseudonym_cannot_be_made_without_the_secret_and_tells_nothing() -> None:
    mine, other = (pseudonym(Seal(secret), name="ann") for secret in (b"one", b"two"))
    assert mine != other
    assert len(mine) == 16
    assert set(mine) <= set("0123456789abcdef")


def test_a_handler_knows_its_visitor_only_from_the_door() -> None:
    visit = Visit(person="p", name="ann")
    through = SimpleNamespace(request=SimpleNamespace(scope={SCOPE_KEY: visit}))
    around = SimpleNamespace(request=SimpleNamespace(scope={SCOPE_KEY: "ann"}))
    assert (visit_of(through), person_of(through)) == (visit, "p")
    assert visit_of(around) is STRANGER
    assert person_of(SimpleNamespace(request=None)) == ""


def test_each_visit_is_a_question_of_its_own() -> None:
    assert Visit("p").id != Visit("p").id
