"""Log lines as FastChat and we write them, as far as the tools here read them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from queuechat.battles import Choice

VOTES = frozenset(choice.value for choice in Choice)

Moment = Annotated[float, Field(ge=0, lt=253_402_300_800)]  #: seconds since the epoch, before the year 10000
Said = str | None | list[Any]  #: text; None when nothing came; with images: text, and their hashes


class State(BaseModel):
    """A conversation. The first `offset` messages are examples that the template brought."""

    messages: list[tuple[str, Said]]
    offset: Annotated[int, Field(ge=0)] = 0
    conv_id: str | None = None
    model_name: str | None = None

    @property
    def spoken(self) -> list[tuple[str, Said]]:
        return self.messages[self.offset :]

    def shown(self) -> list[dict[str, Any]]:
        """As OpenAI has conversations. Roles are by turns: templates have names of their own for them."""
        return [{"role": ("user", "assistant")[k % 2], "content": said} for k, (_, said) in enumerate(self.spoken)]


class VoteRow(BaseModel):
    """A line about both sides of a battle. `leaked`: the voter was told who is who before the vote."""

    tstamp: Moment
    type: str
    models: tuple[str | None, str | None]
    states: tuple[State, State]
    ip: str = ""
    battle_id: str = ""
    leaked: bool = False


class ChatRow(BaseModel):
    """A line about one conversation."""

    tstamp: Moment
    type: str
    model: str | None
    state: State
    ip: str = ""


def text_of(said: Said) -> str:
    """Without images."""
    if isinstance(said, list):
        return said[0] if said and isinstance(said[0], str) else ""
    return said or ""
