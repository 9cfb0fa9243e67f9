"""What a response was asked, in normal form: all that is needed, beside the log, to tell it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from queuechat.dialects.speech import Manner

PREFIX = "resp_"


@dataclass(frozen=True, slots=True)
class Asked:
    """`id` is that of the job; `echo` the fields of the response that repeat the request; `items` the input without
    that of the response `previous` (an id, or ""); `likely` says that log probabilities are told."""

    id: str
    created_at: int
    echo: dict[str, Any]
    items: list[dict[str, Any]]
    manner: Manner
    previous: str = ""
    background: bool = False
    likely: bool = False

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self), default=sorted)

    @classmethod
    def decode(cls, raw: bytes) -> Asked:
        body = orjson.loads(raw)
        manner = body.pop("manner")
        manner["names"] = frozenset(manner["names"])
        return cls(manner=Manner(**manner), **body)

    def shown(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The response object; `outcome` is its status, output and what else only its end tells."""
        return {
            "id": PREFIX + self.id,
            "object": "response",
            "created_at": self.created_at,
            "background": self.background,
            "previous_response_id": PREFIX + self.previous if self.previous else None,
            **self.echo,
            **outcome,
        }


def outcome_of(
    status: str,
    *,
    output: list[dict[str, Any]] | None = None,
    completed_at: int | None = None,
    error: dict[str, Any] | None = None,
    incomplete: str | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields of a response that its log tells; `incomplete` is why it is."""
    return {
        "status": status,
        "completed_at": completed_at,
        "error": error,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "output": output or [],
        "usage": usage,
    }
