"""Who is asked, and how: the address, the endpoint, the body of each request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

from queuechat.bench.connections import Server
from queuechat.bench.workload import Ask
from queuechat.errors import InvalidRequest, Misconfigured, ModelNotFound
from queuechat.masking import without_secrets


class Endpoint(StrEnum):
    """Which API is asked."""

    CHAT = "chat"
    COMPLETIONS = "completions"

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self is Endpoint.CHAT else "/v1/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """A model behind a server. Headers may hold keys and are never shown."""

    url: str
    model: str = ""
    endpoint: Endpoint = Endpoint.CHAT
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)  #: fields for every body
    usage: bool = True  #: ask the server to count tokens

    def body(self, ask: Ask) -> bytes:
        """The request, streamed.

        Raises:
            InvalidRequest: the prompt is of a kind that this endpoint does not take.
        """
        made: dict[str, Any] = {"model": self.model, "max_tokens": ask.output_len, "stream": True}
        if self.endpoint is Endpoint.COMPLETIONS:
            if not isinstance(ask.prompt, str) and not isinstance(ask.prompt[0], int):
                raise InvalidRequest("/v1/completions takes no conversations: use --endpoint chat", param="endpoint")
            made["prompt"] = ask.prompt
        else:
            made["messages"] = _messages(ask)
        if self.usage:
            made["stream_options"] = {"include_usage": True}
        return orjson.dumps(made | dict(self.extra))


def _messages(ask: Ask) -> list[Any]:
    if isinstance(ask.prompt, str):
        return [{"role": "user", "content": ask.prompt}]
    if isinstance(ask.prompt[0], int):
        raise InvalidRequest("chats take no token ids: use --endpoint completions", param="token_ids")
    return list(ask.prompt)


async def with_model(target: Target) -> Target:
    """The same with a model: the one that it names, else the only one that its server has.

    Raises:
        Misconfigured: the server cannot be asked for its models.
        ModelNotFound: it has none, or several.
    """
    if target.model:
        return target
    names = await served(target)
    if len(names) != 1:
        shown = without_secrets(target.url)
        there = f"serves {', '.join(names)}: choose one with --model" if names else "serves no model now"
        raise ModelNotFound(f"{shown} {there}", param="model")
    return replace(target, model=names[0])


async def served(target: Target) -> list[str]:
    """Names of the models that the server lists, aliases left out where it tells.

    Raises:
        Misconfigured: it does not answer with a list of models.
    """
    heard, shown = _Whole(), without_secrets(target.url)
    server = Server(target.url)
    try:
        async with asyncio.timeout(30):
            await server.ask("GET", "/v1/models", dict(target.headers), b"", heard)
        if heard.status != 200:
            raise Misconfigured(f"{shown}/v1/models answered {heard.status}: {_said(heard.body)}")
        rows = orjson.loads(heard.body)["data"]
        return _without_aliases(rows)
    except TimeoutError:
        raise Misconfigured(f"{shown} does not answer within 30 seconds") from None
    except OSError as error:
        raise Misconfigured(f"cannot reach {shown}: {error.strerror or error}; is the server up?") from None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise Misconfigured(f"{shown}/v1/models has no list of models; name one with --model") from None
    finally:
        server.close()


def _without_aliases(rows: list[dict[str, Any]]) -> list[str]:
    """An entry whose root is another entry is that one by another name (vLLM's root is a path, and no entry)."""
    names = [row["id"] for row in rows]
    return [row["id"] for row in rows if row.get("root") in (None, row["id"]) or row["root"] not in names]


def _said(body: bytes) -> str:
    return body[:200].decode(errors="replace")


class _Whole:
    """An answer that is read to its end."""

    status = 0
    body = b""

    def begin(self, status: int) -> None:
        self.status = status

    def feed(self, data: bytes, at: float) -> None:
        self.body += data
