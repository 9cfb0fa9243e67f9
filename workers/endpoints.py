"""Models that a provider elsewhere serves, as FastChat's `api_endpoints.json` lists them, with some keys more."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from queuechat.errors import Misconfigured

Api = Literal["openai", "anthropic"]

#: FastChat's `anthropic` is an API that is gone; its models answer Messages.
API_TYPES: Mapping[str, Api] = {"openai": "openai", "anthropic": "anthropic", "anthropic_message": "anthropic"}
TAKES = ("top_k", "min_p", "repetition_penalty", "ignore_eos", "chat_template_kwargs", "reasoning_content",
         "structured_outputs", "output_config")  # fmt: skip
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOMES: Mapping[Api, tuple[str, str]] = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com", "ANTHROPIC_API_KEY"),
}

Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Recommended(_Strict):
    """What is said to the provider where a request says nothing."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_new_tokens: Count | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @property
    def sampling(self) -> dict[str, float]:
        """What of it draws tokens; a `top_p` of 1 asks for nothing, and some models want none beside a temperature."""
        told = {"temperature": self.temperature, "top_p": None if self.top_p == 1 else self.top_p}
        return {name: value for name, value in told.items() if value is not None}


class Endpoint(_Strict):
    """One entry. The arena's keys of FastChat mean nothing here, but for `vision-arena`."""

    model_name: Annotated[str, Field(min_length=1)]
    api_type: str
    api_base: str | None = None
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    recommended_config: Recommended = Recommended()
    anony_only: bool = False
    text_arena: bool = Field(True, alias="text-arena")
    vision_arena: bool = Field(False, alias="vision-arena")
    custom_system_prompt: Literal[False] | None = None
    aliases: list[str] = Field(default_factory=list)
    vision: bool = False
    reasoning: bool = False
    takes: list[str] = Field(default_factory=list)
    resume: Literal["restart", "prefill"] = "restart"
    context_length: Count | None = None
    max_running: Count | None = None
    rpm: Count | None = None
    tpm: Count | None = None
    retries: Annotated[int, Field(ge=0, le=20)] = 4
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 600.0

    @field_validator("api_type")
    @classmethod
    def _is_spoken(cls, value: str) -> str:
        if value not in API_TYPES:
            raise ValueError(f"not supported: there are {', '.join(API_TYPES)}")  # somebody may have put the key there
        return value

    @field_validator("api_key_env")
    @classmethod
    def _is_variable(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("must be the name of a variable, of letters, digits and _: the key itself is `api_key`")
        return value

    @field_validator("takes")
    @classmethod
    def _are_known(cls, value: list[str]) -> list[str]:
        if odd := [name for name in value if name not in TAKES]:
            raise ValueError(f"{odd[0][:40]!r} is nothing that can be passed on: there are {', '.join(TAKES)}")
        return value

    @field_validator("api_base")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("must be an address that begins with http:// or https://")
        return value

    @property
    def api(self) -> Api:
        return API_TYPES[self.api_type]

    @property
    def base(self) -> str:
        return self.api_base or _HOMES[self.api][0]

    @property
    def host(self) -> str:
        return urlsplit(self.base).hostname or ""

    @property
    def at_home(self) -> bool:
        """Whether it is the provider's own service, not one that speaks like it."""
        home = urlsplit(_HOMES[self.api][0])
        return (urlsplit(self.base).scheme, self.host) == (home.scheme, home.hostname)

    @property
    def sees(self) -> bool:
        return self.vision or self.vision_arena

    def key(self, environment: Mapping[str, str] = os.environ) -> str:
        """The API key; "none" for a server elsewhere of which no key is told. The usual variable of a provider is
        looked at for its own service only, so that a key never goes to another host than it was meant for.

        Raises:
            Misconfigured: the variable that should hold it does not, or what is there cannot be a key.
        """
        if self.api_key is not None and (key := self.api_key.get_secret_value().strip()):
            return self._sendable(key)
        if not (self.api_key_env or self.at_home):
            return "none"
        variable = self.api_key_env or _HOMES[self.api][1]
        if not (key := environment.get(variable, "").strip()):
            raise Misconfigured(f"the API key of {self.model_name!r} should be in the variable {variable}: set it")
        return self._sendable(key)

    def _sendable(self, key: str) -> str:
        if not (key.isascii() and key.isprintable()):
            raise Misconfigured(
                f"the API key of {self.model_name!r} has characters that no header can have: copy it again"
            )
        return key


def endpoint_of(entry: object, where: str) -> Endpoint:
    """One entry, checked; `where` is what messages call it. They never repeat a value that may be a key.

    Raises:
        Misconfigured: it is not of the format; the message names the key.
    """
    try:
        return Endpoint.model_validate(entry)
    except ValidationError as error:
        raise Misconfigured(f"{where}: " + "; ".join(_complaint(one) for one in error.errors()[:5])) from None


def _complaint(error: Any) -> str:
    place = ".".join(str(step) for step in error["loc"]) or "the entry"
    if error["type"] == "extra_forbidden":
        return f"`{place}` is not known here; leave it out"
    return f"`{place}`: {error['msg'].removeprefix('Value error, ')}"


def read_endpoints(path: str, only: str | None = None) -> dict[str, dict[str, Any]]:
    """The entries of a file by the names that their models have here, or only that of one name.

    Raises:
        Misconfigured: there is no such file or name, or an entry is not of the format.
    """
    try:
        entries = orjson.loads(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise Misconfigured(f"--endpoints {path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise Misconfigured(f"--endpoints {path} is not JSON: {error}") from None
    if not isinstance(entries, dict) or not entries:
        raise Misconfigured(
            f"--endpoints {path} must be an object of entries by name, as FastChat's api_endpoints.json"
        )
    if only is not None and only not in entries:
        raise Misconfigured(f"--endpoints {path} has no model {only!r}: there are {', '.join(entries)}")
    chosen = entries if only is None else {only: entries[only]}
    for name, entry in chosen.items():
        endpoint_of(entry, f"{path}: {name}")
    _refuse_twice(chosen, path)
    return chosen


def _refuse_twice(entries: Mapping[str, Mapping[str, Any]], path: str) -> None:
    names: Sequence[str] = [*entries, *(alias for entry in entries.values() for alias in entry.get("aliases", ()))]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Misconfigured(f"{path}: {twice[0]!r} is the name of two models")
