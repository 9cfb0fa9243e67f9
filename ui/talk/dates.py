"""Placeholders for today's date in a system prompt, as FastChat has them."""

from __future__ import annotations

from datetime import date

_FORMS = {"{{currentDateTime}}": "%Y-%m-%d", "{{currentDateTimev2}}": "%d %b %Y", "{{currentDateTimev3}}": "%B %Y"}


def dated(prompt: str, today: date) -> str:
    """The prompt with 2026-11-22, 22 Nov 2026 and November 2026 in their places."""
    for placeholder, form in _FORMS.items():
        prompt = prompt.replace(placeholder, today.strftime(form))
    return prompt
