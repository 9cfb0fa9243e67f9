"""Answers with hand-made times."""

from __future__ import annotations

from array import array

from queuechat.bench.driving import Run
from queuechat.bench.streaming import Reading


def a_reading(
    sent: float, times: list[float], *, ended: float | None = None, tokens: int | None = None, prompt: int = 10
) -> Reading:
    """One that came to its end."""
    reading = Reading(sent)
    reading.begin(200)
    reading.times = array("d", times)
    reading.ended = times[-1] if ended is None else ended
    reading.prompt_tokens, reading.completion_tokens = prompt, tokens
    reading.finish_reason = "length"
    reading.end()
    return reading


def a_failure(sent: float, kind: str) -> Reading:
    reading = Reading(sent)
    reading.failure = kind
    reading.end()
    return reading


def a_run(readings: list[Reading], duration: float) -> Run:
    return Run(readings, 0.0, duration, generator_cpu_s=0.1, server_cpu_s={})
