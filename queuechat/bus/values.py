"""What the bus answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from queuechat import keys
from queuechat.protocol import Job


@dataclass(frozen=True, slots=True)
class Accepted:
    """The jobs are in the queue, durably as far as Redis' own settings go."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The idempotency key was seen with the same body: this request has the answer."""

    id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker now owns, and where to go on: `offset` tokens whose hash is `hash` are in its log.

    `crashes` workers in a row have died with it.
    """

    job: Job
    nonce: str
    epoch: int
    offset: int
    hash: str
    left_ms: int
    crashes: int = 0

    @property
    def suspect(self) -> bool:
        """Whether nothing else is to be begun beside it until it has proven itself."""
        return self.crashes >= keys.SUSPECT


class Claims(list[Claim]):
    """What one claim took. `held_back`: more waits, but not before a suspect has been tried alone. `full`: it has as
    many as it had room for, or is large, so that there may be more. `stands`: what comes is granted to it (`Grant`)."""

    held_back = False
    full = False
    stands = False


class Stand(NamedTuple):
    """How a claim is left standing: the worker's free places, and the claim it takes the place of, if that stood, with
    how many grants were heard of."""

    free: int = 0  #: 0: it is not to stand
    before: str = ""
    heard: int = 0


class Grant(NamedTuple):
    """What a worker hears when a job was granted to the claim that it left standing; `left` more may be."""

    claim: Claim
    left: int

    @classmethod
    def decode(cls, message: bytes) -> Grant:
        """Raises ValueError for a job that this release cannot read."""
        head, _, raw = message.partition(b"\n")
        nonce, epoch, left_ms, left = head.decode().split(" ")
        return cls(Claim(Job.decode(raw), nonce, int(epoch), 0, "", int(left_ms)), int(left))


class Verdict(StrEnum):
    """The answer to a worker about one of its jobs."""

    OK = "OK"
    DUP = "DUP"  #: already there; nothing was written
    GAP = "GAP"  #: not the next offset; nothing was written
    FENCED = "FENCED"  #: somebody else owns it, or it has ended
    DIVERGED = "DIVERGED"  #: the log before this offset is not what the worker has
    CANCEL = "CANCEL"  #: nobody wants it any more
    DEADLINE = "DEADLINE"  #: too late
    ALREADY = "ALREADY"  #: it has ended before


class Item(NamedTuple):
    """One job's part of a publish: tokens [first, first + tokens), the hashes around them, the encoded Chunk."""

    id: str
    nonce: str
    first: int
    tokens: int
    before: str
    after: str
    chunk: bytes


class Entry(NamedTuple):
    """One log entry: the encoded event and, for a chunk, the hash of all ids up to its end."""

    raw: bytes
    hash: str


class Sight(NamedTuple):
    """What a watcher sees of a job: "" is a state that is gone; place 0 means taken by a worker."""

    state: str
    next: int
    place: int
