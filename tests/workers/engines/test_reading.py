"""Prompts that are only read, by the vocabulary of every engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from queuechat.errors import InvalidRequest
from queuechat.protocol import Job
from tests.workers.engines.conftest import ENGINES, each_of
from tests.workers.engines.driver import Driver
from workers.prompting import Speech
from workers.text.named import asked_for

TEXT = "Où est la gare? 東京 👋🏽"

# A provider elsewhere does not tell what its tokens are.
pytestmark = pytest.mark.parametrize("driver", each_of(*(kind for kind in ENGINES if kind != "remote")), indirect=True)


def speech_of(driver: Driver) -> Speech:
    assert driver.engine.caps.units == "tokens"
    return Speech(driver.engine.vocabulary, driver.engine.vocabulary.chat_template or asked_for("plain").template)


async def test_what_is_read_is_what_would_be_answered(driver: Driver) -> None:
    speech, plain = speech_of(driver), Job("a", "m", prompt=TEXT)
    for job in (plain, Job("b", "m", messages=[{"role": "user", "content": TEXT}])):
        ids = speech.ids_of(job)
        assert speech.read(replace(job, reading="tokens")).ids == ids
        assert speech.read(replace(job, reading="count")).count == len(ids)
        assert len(speech.read(replace(job, reading="pieces")).pieces) == len(ids)
    told = speech.read(replace(plain, prompt=speech.ids_of(plain), reading="text"))
    assert told.text == TEXT


async def test_ids_that_are_not_of_the_vocabulary_have_no_text(driver: Driver) -> None:
    size = len(driver.engine.vocabulary)
    assert speech_of(driver).read(Job("a", "m", prompt=[size - 1], reading="text")).count == 1
    with pytest.raises(InvalidRequest, match="token ids lie in"):
        speech_of(driver).read(Job("a", "m", prompt=[size], reading="text"))
