"""What is told of models and workers, beside the jobs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import orjson

from queuechat.wire import VERSION, load


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is; the same for all its workers."""

    name: str
    aliases: list[str] = field(default_factory=list)
    context_length: int = 0
    engine: str = ""
    source: str = ""
    embeds: bool = False
    tool_format: str = ""  #: how it writes calls of tools
    reasoning: str = ""  #: the tag around its thoughts
    resume: Literal["exact", "distribution", "none"] = "distribution"  #: what an answer that was cut goes on with
    created: int = 0
    grammars: list[str] = field(default_factory=list)  #: kinds of grammar that it can be held to
    logprobs: bool = False
    generates: bool = True  #: false for one that only makes embeddings
    chats: bool = True  #: whether it has a chat template
    scores: bool = False  #: whether it tells the log probabilities of prompts
    fim: bool = False  #: whether it fills in the middle, between a prompt and a suffix
    vision: bool = False  #: whether messages may have images
    parent: str = ""  #: the model that it is an adapter of
    quantization: str = ""  #: how the weights are kept, where that is not a dtype

    @property
    def relayed(self) -> bool:
        """Whether a provider elsewhere answers, so that the answer comes as text whose parts are marked."""
        return self.engine == "remote"

    def encode(self) -> bytes:
        return VERSION + orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> ModelCard:
        return cls(**_known(cls, load(raw)))


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A live worker and its load; renewed each second, gone three seconds after its last breath."""

    id: str
    model: str
    aliases: list[str] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)  #: names of models that it serves beside, on the same weights
    engine: str = ""
    device: str = ""
    quantization: str = ""
    host: str = ""
    pid: int = 0
    state: Literal["loading", "ready", "draining", "restarting"] = "loading"
    running: int = 0
    capacity: int = 0
    tokens_per_s: float = 0.0
    tokens: int = 0
    restarts: int = 0
    started: int = 0

    def encode(self) -> bytes:
        return VERSION + orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> WorkerCard:
        return cls(**_known(cls, load(raw)))


@dataclass(frozen=True, slots=True)
class Depth:
    """How deep a model's queues are.

    `finished_per_s` is over the last jobs that ended, `pace_s` the seconds until the next place in the waiting room is
    free, from how long they ran and how many run at a time; 0 when unknown.
    """

    waiting: int = 0
    running: int = 0
    bulk_waiting: int = 0
    oldest_ms: int = 0
    dead: int = 0
    finished_per_s: float = 0.0
    pace_s: float = 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds until a request that comes now is taken, as admission reckons; None when nothing tells."""
        if not self.waiting:
            return 0.0
        return round((self.waiting + 1) * self.pace_s, 1) or None


def _known(kind: type, body: dict[str, Any]) -> dict[str, Any]:
    """A card may say more than this release knows; a job may not, since every field of it changes the answer."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in body.items() if name in names}
