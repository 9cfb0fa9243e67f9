"""Today's date in system prompts."""

from __future__ import annotations

from datetime import date

import pytest

from ui.talk.dates import dated


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Today is {{currentDateTime}}.", "Today is 2026-11-02."),
        ("{{currentDateTimev2}}, {{currentDateTimev2}}", "02 Nov 2026, 02 Nov 2026"),
        ("{{currentDateTimev3}}", "November 2026"),
        ("{{currentdatetime}} {{x}} {currentDateTime}", "{{currentdatetime}} {{x}} {currentDateTime}"),
    ],
)
def test_placeholders_become_todays_date_and_nothing_else_changes(prompt: str, said: str) -> None:
    assert dated(prompt, date(2026, 11, 2)) == said
