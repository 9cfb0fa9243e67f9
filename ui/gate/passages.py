"""What a job would tell a model, message by message, as moderators and limits look at it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import Any

from queuechat.protocol import Job


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Passage:
    """One message: its text, its images (base64 of their files), and the message before it. `digest` stands for it and
    all that was said before."""

    role: str
    text: str
    images: tuple[str, ...]
    before: Passage | None
    digest: bytes

    @property
    def thread(self) -> list[Passage]:
        """The conversation up to and with this message."""
        said: list[Passage] = []
        one: Passage | None = self
        while one:
            said.append(one)
            one = one.before
        return said[::-1]


def passages_of(job: Job) -> list[Passage]:
    """All messages of a job, in order. The page's own history is among them: it came from a browser like the rest."""
    said: list[Passage] = []
    images = iter(job.images)
    for message in job.messages or []:
        text, count = _read(message["content"])
        mine, before = tuple(islice(images, count)), said[-1] if said else None
        digest = hashlib.sha256(before.digest if before else b"")
        for part in (message["role"], text, *mine):
            digest.update(hashlib.sha256(part.encode(errors="replace")).digest())
        said.append(Passage(message["role"], text, mine, before, digest.digest()))
    return said


def _read(content: str | list[dict[str, Any]]) -> tuple[str, int]:
    """The text of a message, and how many images it has."""
    if isinstance(content, str):
        return content, 0
    texts = [part["text"] for part in content if part["type"] == "text"]
    return "\n".join(texts), sum(part["type"] == "image" for part in content)
