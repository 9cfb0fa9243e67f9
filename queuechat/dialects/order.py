"""What a checked request asks of the queue, and what its answer has cost."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

from queuechat.dialects.message import Showing
from queuechat.dialects.speech import Manner
from queuechat.errors import InvalidRequest
from queuechat.protocol import End, Job, ModelCard

BYTES = 4  #: of a token of text, about
_IMAGE = 1000  # tokens of an image: models make from 64 to some 10,000 of one


@dataclass(frozen=True, slots=True)
class Slip:
    """What is known of a request beside its body. `id` is that of its first job, `model` the name that its workers
    listen to; `seed` is for who brought none, so that any worker can go on with the same noise. `card` tells what the
    model can do, `reasoning_field` where its thoughts are shown. `images` are those of the body, checked and as base64;
    None when nobody has looked at them yet."""

    id: str
    model: str
    deadline_s: float
    tenant: str = ""
    lane: Literal["jobs", "bulk"] = "jobs"
    seed: int = field(default_factory=lambda: secrets.randbits(32))
    card: ModelCard = field(default_factory=lambda: ModelCard(""))
    reasoning_field: str = "reasoning_content"
    images: Sequence[str] | None = None

    def refuse_encoders(self, name: str) -> None:
        """Raises InvalidRequest when the model, which the user calls `name`, only makes embeddings."""
        if not self.card.generates:
            raise InvalidRequest(
                f"the model {name!r} makes embeddings and writes nothing: use /v1/embeddings, or another model",
                param="model",
            )


@dataclass(frozen=True, slots=True)
class Order:
    """The jobs of one request. `name` is the model as the user called it, `siblings` how many answers share each
    prompt, `echo` the text that each answer begins with, `idem` the digests of idempotency key and body. `manner` is
    how the answers are read, `showing` how they are shown. `unwatched` jobs need no reader, `keep_s` is for how long
    their logs are kept after the end, and `tells_failures` says that a stream which has begun tells how it failed."""

    jobs: Sequence[Job]
    name: str
    siblings: int = 1
    include_usage: bool = False
    echo: Sequence[str] = ()
    ignored: Sequence[str] = ()
    idem: tuple[str, str] | None = None
    manner: Manner = field(default_factory=Manner)
    showing: Showing = field(default_factory=Showing)
    tier: str | None = None  #: the service tier that was asked for, and is given
    kept: int | None = None  #: how many of the siblings are told, the likeliest ones; None for all
    unwatched: bool = False
    keep_s: float = 0.0
    tells_failures: bool = False
    unit: int = 1  #: how many of what its offsets count are about one token

    @property
    def plain(self) -> bool:
        """Whether the answers are their text and nothing else."""
        return self.manner.plain and not self.showing.logprobs

    @property
    def model(self) -> str:
        return self.jobs[0].model

    @property
    def embeds(self) -> bool:
        return self.jobs[0].inputs is not None

    @property
    def prompt_tokens(self) -> int:
        """About how many its prompts have: only the worker can count those of text."""
        return sum(about(job) for job in self.jobs[:: self.siblings])

    @property
    def tokens_asked(self) -> int:
        """About how many it may cost at most; an answer without a limit of its own counts when it is there. What is
        only read costs nothing."""
        if self.jobs[0].reading:
            return 0
        return self.prompt_tokens + sum(job.max_tokens or 0 for job in self.jobs)

    @property
    def deadline_s(self) -> float:
        return self.jobs[0].deadline_s

    @property
    def told_tier(self) -> dict[str, str]:
        """As the objects of the answer have it."""
        return {"service_tier": self.tier} if self.tier else {}

    def tally(self) -> Tally:
        return Tally(self.siblings, thinks=self.manner.thinks)


def about(job: Job) -> int:
    """A token for each four bytes of text, as is usual, a round number for each image; ids are counted."""
    if isinstance(job.prompt, list):
        return len(job.prompt)
    parts: Sequence[object] = [*(job.messages or job.inputs or [job.prompt]), *job.tools]
    text = sum(len(part) if isinstance(part, list) else -(-len(orjson.dumps(part)) // BYTES) for part in parts)
    return text + _IMAGE * len(job.images)


@dataclass(slots=True)
class Tally:
    """Tokens read and written. A prompt that several answers share counts once.

    How many tokens were thoughts is known only where there are none: of a model that thinks, nothing is said of it.
    """

    siblings: int = 1
    prompts: dict[int, int] = field(default_factory=dict)
    generated: int = 0
    thinks: bool = False

    def add(self, index: int, end: End) -> None:
        self.prompts[index // self.siblings] = end.prompt_tokens
        self.generated += end.tokens

    @property
    def prompt_tokens(self) -> int:
        return sum(self.prompts.values())

    def usage(self) -> dict[str, object]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt_tokens + self.generated,
            "prompt_tokens_details": {"cached_tokens": 0},
            **({} if self.thinks else {"completion_tokens_details": {"reasoning_tokens": 0}}),
        }
