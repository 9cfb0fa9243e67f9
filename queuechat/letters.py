"""Dead letters: jobs that lost one worker too many. Seven days long they can be queued again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from queuechat import keys
from queuechat.bus import Bus
from queuechat.timeline import Timeline

_BATCH = 100


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. `at` is in seconds since the epoch, `tokens` what had been delivered; never the prompt."""

    entry: str
    model: str
    id: str
    at: float
    tokens: int
    crashes: int
    worker: str
    tenant: str


async def list_letters(bus: Bus, models: Sequence[str], count: int | None = 1000) -> list[Letter]:
    """The newest letters of these models, newest first; all of them when `count` is None."""
    if not models:
        return []
    most = () if count is None else ("COUNT", count)
    answers = await bus.connection.insist([("XREVRANGE", keys.dead(model), "+", "-", *most) for model in models])
    letters = [_letter(model, *row) for model, rows in zip(models, answers, strict=True) for row in rows]
    return sorted(letters, key=lambda letter: letter.at, reverse=True)[:count]


async def redrive(bus: Bus, letters: Sequence[Letter]) -> list[str]:
    """Queue these jobs again, each with what it had delivered: OK, ALREADY (it is alive or was answered) or MISSING
    (its request is no longer kept) for each, in their order."""
    words: dict[Letter, str] = {}
    for batch in _batches(letters):
        said = await _call(bus, "qc1_redrive", batch)
        words.update(zip(batch, (word.decode() for word in said), strict=True))
    return [words[letter] for letter in letters]


async def drop(bus: Bus, letters: Sequence[Letter]) -> int:
    """Forget these letters, with their requests and what was answered; answers how many there were."""
    return sum([int(await _call(bus, "qc1_drop", batch)) for batch in _batches(letters)])


def letter_of(job: Timeline) -> Letter:
    """The letter of a job whose state is dead."""
    at = job.moments[-1].at
    return Letter(job.letter, job.model, job.id, at, job.tokens, job.crashes, job.worker, job.tenant)


def _batches(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Letters of one model each, so few that no call keeps Redis from the others for long."""
    for model in dict.fromkeys(letter.model for letter in letters):
        own = [letter for letter in letters if letter.model == model]
        for at in range(0, len(own), _BATCH):
            yield own[at : at + _BATCH]


async def _call(bus: Bus, function: str, letters: Sequence[Letter]) -> Any:
    pairs = [value for letter in letters for value in (letter.entry, letter.id)]
    return await bus.connection.call(function, keys.jobs(letters[0].model), *pairs)


def _letter(model: str, entry: bytes, fields: list[bytes] | dict[bytes, bytes]) -> Letter:
    row = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    return Letter(
        entry.decode(),
        model,
        row[b"id"].decode(),
        int(entry.partition(b"-")[0]) / 1000,
        int(row[b"tokens"]),
        int(row[b"crashes"]),
        row[b"worker"].decode(),
        row.get(b"tenant", b"").decode(),
    )
