"""Figures of log files."""

from __future__ import annotations

from pathlib import Path

from queuechat.cleaning.stats import take_stats
from tests.cleaning.lines import NOON, chat, log_file, state, vote

HOUR, DAY = 3600, 86400


def test_chats_and_votes_are_counted_by_kind_model_day_and_hour(tmp_path: Path) -> None:
    rows = [
        chat(tstamp=NOON - 2 * DAY),
        chat(tstamp=NOON - HOUR),
        chat("upvote", ip="198.51.100.9"),
        vote(),
        vote("tievote", models=["ape", "bee"]),
        vote(right=state("cat"), tstamp=NOON - 2 * DAY),
    ]
    found = take_stats([log_file(tmp_path, *rows, "{torn")]).as_json()
    hours = found.pop("last_24_hours")
    assert found == {
        "lines": 6,
        "unreadable": 1,
        "people": 2,
        "anonymous_votes": 2,
        "actions": [
            {"type": "chat", "all": 2, "last_day": 1},
            {"type": "leftvote", "all": 2, "last_day": 1},
            {"type": "upvote", "all": 1, "last_day": 1},
            {"type": "tievote", "all": 1, "last_day": 1},
        ],
        "models": [
            {"model": "ape", **row(chats=(2, 1), votes=(3, 2), other=(1, 1))},
            {"model": "bee", **row(votes=(2, 2))},
            {"model": "cat", **row(votes=(1, 0))},
        ],
        "days": [
            {"day": "2025-11-20", "chats": 1, "votes": 1, "other": 0},
            {"day": "2025-11-22", "chats": 1, "votes": 2, "other": 1},
        ],
    }
    assert (len(hours), hours[0]["from"]) == (24, "2025-11-21 13:00")
    assert hours[-2:] == [
        {"from": "2025-11-22 11:00", "chats": 1, "votes": 0, "other": 0},
        {"from": "2025-11-22 12:00", "chats": 0, "votes": 2, "other": 1},
    ]


def row(**counts: tuple[int, int]) -> dict[str, int]:
    every = {kind: counts.get(kind, (0, 0)) for kind in ("chats", "votes", "other")}
    return {k: n for k, (n, _) in every.items()} | {f"{k}_last_day": n for k, (_, n) in every.items()}


def test_a_time_that_is_none_is_a_fault(tmp_path: Path) -> None:
    stats = take_stats([log_file(tmp_path, chat(tstamp=float("nan")), chat(tstamp=1e300), chat(tstamp=-1), chat())])
    assert (stats.lines, stats.faults.count) == (1, 3)


def test_there_are_no_figures_of_nothing(tmp_path: Path) -> None:
    found = take_stats([log_file(tmp_path)]).as_json()
    assert (found["lines"], found["actions"], found["models"], found["last_24_hours"]) == (0, [], [], [])
