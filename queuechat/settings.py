"""Settings of every process: read once at the door, passed down as values.

Precedence: command-line flag, environment (`QUEUECHAT_*`), `.env`, default. `REDIS_URL` is honoured when
`QUEUECHAT_REDIS_URL` is not set.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from queuechat.errors import Misconfigured
from queuechat.masking import without_secrets

Words = Annotated[list[str], NoDecode]
Secrets = Annotated[list[SecretStr], NoDecode]
Scores = Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], NoDecode]

_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "queuechat"


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "queuechat"


class Settings(BaseSettings):
    """One flat, frozen value; each process reads the fields that concern it."""

    model_config = SettingsConfigDict(
        env_prefix="QUEUECHAT_", env_file=".env", frozen=True, extra="ignore", populate_by_name=True
    )

    redis_url: str | None = Field(
        None,
        validation_alias=AliasChoices("QUEUECHAT_REDIS_URL", "REDIS_URL"),
        description="redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// URL; unset: a private server",
    )
    state_dir: Path = Field(default_factory=_state_dir, description="the private Redis' socket, AOF and log")
    cache_dir: Path = Field(default_factory=_cache_dir, description="converted models")
    files_dir: Path = Field(
        default_factory=lambda data: data.get("state_dir", _state_dir()) / "files",
        description="content of uploaded files and results of batches; the same for API and background",
    )
    people_file: Path = Field(
        default_factory=lambda data: data.get("state_dir", _state_dir()) / "people",
        description="who may log in at the page, written by: queuechat people",
    )
    arena_dir: Path = Field(
        default_factory=lambda data: data.get("state_dir", _state_dir()) / "arena",
        description="log files of votes and conversations; the same for all background processes",
    )
    arena_pairs: Path | None = Field(
        None, description="TOML file of rules for who meets whom in the arena; unset: all pairs are as likely"
    )
    record_chats: bool = Field(
        False, description="log the Chat tab's conversations and what is thought of them; battles and votes always are"
    )

    host: str = Field("127.0.0.1", description="address the API or UI listens on")
    api_port: int = Field(8000, ge=0, le=65535, description="port of the API")
    ui_port: int = Field(7860, ge=0, le=65535, description="port of the UI")

    api_keys: Secrets = Field(default_factory=list, description="API keys, comma separated")
    require_key: bool = Field(False, description="refuse requests without a key even when no key exists yet")
    key_pepper: SecretStr = Field(SecretStr(""), description="secret mixed into stored key hashes")
    cors_origins: Words = Field(default_factory=list, description="origins that browsers may call from")
    body_limit: int = Field(1 << 20, gt=0, description="bytes of a request body")
    image_hosts: Words = Field(
        default_factory=list, description="hosts that images may be fetched from: name, *.name, name:port, http://name"
    )
    image_networks: Words = Field(
        default_factory=list, description="networks, not public ones, that such hosts may be in, as 10.1.0.0/16"
    )
    image_count: int = Field(8, ge=0, description="images of a request; 0: none at all")
    image_limit: int = Field(8 << 20, gt=0, description="bytes of an image file")
    image_total: int = Field(16 << 20, gt=0, description="bytes of all images of a request, once for each choice")
    image_pixels: int = Field(25_000_000, gt=0, description="width times height of an image")
    image_fetch_s: float = Field(10.0, gt=0, description="seconds in which all images of a request must be fetched")
    text_limit: int = Field(64 << 10, gt=0, description="bytes of the text files of a question on the page")
    file_limit: int = Field(200 << 20, gt=0, description="bytes of an uploaded file")
    queue_limit: int = Field(1000, ge=1, description="requests that may wait for one model")
    key_concurrency: int = Field(0, ge=0, description="requests an API key may have running at a time; 0: any number")
    key_rpm: int = Field(0, ge=0, description="requests a minute of an API key; 0: any number")
    key_tpm: int = Field(0, ge=0, description="tokens a minute, read and written, of an API key; 0: any number")
    wrong_keys: int = Field(100, ge=0, description="wrong API keys a minute from one address; 0: any number")
    deadline_s: float = Field(600.0, gt=0, description="seconds after which an unanswered request is given up")
    grace_s: float = Field(15.0, ge=0, description="seconds a request goes on with nobody reading; 0: for ever")
    hold_s: float = Field(5.0, ge=0, description="seconds to wait for the first word before a stream's 200 is sent")
    reasoning_field: Literal["reasoning_content", "reasoning"] = Field(
        "reasoning_content", description="field of a chat answer that a model's thoughts are in"
    )
    ollama: bool = Field(False, description="answer Ollama's API as well, at /api")
    metrics_vllm_names: bool = Field(False, description="tell metrics under vLLM's names as well")
    drain_s: float = Field(30.0, ge=0, description="seconds that running requests get at shutdown")
    hang_s: float = Field(60.0, gt=0, description="seconds without an engine step before its child is replaced")

    response_ttl_s: float = Field(
        86_400.0, ge=60, description="seconds a response of /v1/responses is stored after its deadline"
    )
    background_deadline_s: float = Field(
        3600.0, gt=0, description="seconds after which an unanswered background response is given up"
    )

    leaderboard_s: float = Field(600.0, ge=0, description="seconds between ratings of the votes in arena_dir; 0: never")
    leaderboard_rounds: int = Field(100, ge=1, le=100_000, description="bootstrap rounds of these ratings")
    leaderboard_categories: Path | None = Field(None, description="TOML file of your own categories of votes")

    batch_window: int = Field(64, ge=1, le=10_000, description="lines of a batch that wait or run at a time")

    ui_proxies: Words = Field(
        default_factory=list,
        description="addresses and networks of proxies that tell the page who comes",
    )
    ui_login: Literal["none", "password", "header"] = Field(
        "none", description="who may use the page: anyone, who is in the file of people, or whom a proxy names"
    )
    ui_login_header: str = Field("x-forwarded-user", description="header in which a proxy names who has logged in")
    ui_login_tries: int = Field(20, ge=0, description="logins a minute from one address; 0: any number")
    ui_terms: Path | None = Field(None, description="Markdown file with terms that must be accepted before asking")
    ui_rpm: int = Field(60, ge=0, description="questions a minute of one person at the page; 0: any number")
    ui_question_limit: int = Field(100_000, ge=0, description="characters of a question with its files; 0: any number")
    ui_conversation_limit: int = Field(400_000, ge=0, description="characters of a conversation; 0: any number")
    ui_turn_limit: int = Field(50, ge=0, description="questions of a conversation at the page; 0: any number")
    ui_moderation: Literal["off", "endpoint", "guard"] = Field(
        "off", description="who judges questions: nobody, an OpenAI-compatible endpoint, or a guard model served here"
    )
    ui_moderation_url: str = Field("https://api.openai.com/v1", description="base of that endpoint")
    ui_moderation_key: SecretStr = Field(SecretStr(""), description="its API key")
    ui_moderation_model: str = Field("omni-moderation-latest", description="its model, or the guard model served here")
    ui_moderation_thresholds: Scores = Field(
        default_factory=dict, description="scores that flag, as sexual=0.3,violence=0.5; none: what it flags itself"
    )
    ui_moderation_s: float = Field(10.0, gt=0, description="seconds in which it must have judged a question")
    ui_moderation_down: Literal["closed", "open"] = Field(
        "closed", description="whether questions are refused or let in when it does not answer"
    )

    log_level: str = Field("info", description="debug, info, warning or error")
    log_json: bool = Field(False, description="log lines as JSON")

    @property
    def body_room(self) -> int:
        """Bytes of a body that may have images: base64 makes 4 of 3."""
        return self.body_limit + -(-self.image_total // 3) * 4 if self.image_count else self.body_limit

    @field_validator("api_keys", "cors_origins", "image_hosts", "image_networks", "ui_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value

    @field_validator("ui_terms", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return value or None

    @field_validator("ui_proxies")
    @classmethod
    def _networks(cls, values: list[str]) -> list[str]:
        return [str(ipaddress.ip_network(value)) for value in values]

    @field_validator("ui_login_header")
    @classmethod
    def _header(cls, value: str) -> str:
        if not _HEADER.fullmatch(value):
            raise ValueError("must be the name of a header")
        return value.lower()

    @field_validator("ui_moderation_url")
    @classmethod
    def _base(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must be a URL that begins with https:// or http://")
        return value.rstrip("/")

    @field_validator("ui_moderation_thresholds", mode="before")
    @classmethod
    def _scores(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {name.strip(): score for name, _, score in (word.partition("=") for word in value.split(",") if word)}

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value.lower()


def load(**flags: Any) -> Settings:
    """Settings with the flags that were given (not None) on top.

    Raises:
        Misconfigured: a value cannot be used; the message names its variable.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [f"QUEUECHAT_{'_'.join(str(p) for p in e['loc']).upper()}: {e['msg']}" for e in error.errors()]
        raise Misconfigured("; ".join(lines)) from None


@dataclass(frozen=True, slots=True)
class Source:
    """A setting as `queuechat config show` prints it."""

    name: str
    variable: str
    value: str
    source: str
    description: str


def sources(loaded: Settings) -> list[Source]:
    """Each setting with where its value comes from; passwords and secrets masked."""
    rows = []
    in_file = dotenv_values(".env")
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variables = (
            [str(c) for c in alias.choices] if isinstance(alias, AliasChoices) else [f"QUEUECHAT_{name.upper()}"]
        )
        source = next((v for v in variables if v in os.environ), None)
        if source is None and any(v in in_file for v in variables):
            source = ".env"
        value = getattr(loaded, name)
        rows.append(Source(name, variables[0], _shown(name, value), source or "default", field.description or ""))
    return rows


def _shown(name: str, value: Any) -> str:
    if name == "redis_url":
        return without_secrets(value or "")
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return str(value)
