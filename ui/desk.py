"""What every tab works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from queuechat.client import Client
from queuechat.dialects.pictures import Limits
from queuechat.roster import Roster
from ui.arena.pairing import Pairs
from ui.board import Board
from ui.gate.gate import Gate
from ui.talk.reading import Reader
from ui.turns import Turns
from ui.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Desk:
    """The collaborators of one UI process; they live on the loop that Gradio's handlers run on."""

    client: Client
    roster: Roster
    board: Board
    deadline_s: float = 600.0
    api_port: int = 8000  #: of the API, where it runs beside the page
    record_chats: bool = False
    limits: Limits = field(default_factory=Limits)
    text_limit: int = 64 << 10  #: bytes of the text files of a question
    gate: Gate = field(default_factory=Gate)
    pairs: Pairs = field(default_factory=Pairs)  #: who meets whom in the arena
    turns: Turns = field(default_factory=Turns)
    uploads: Uploads = field(default_factory=Uploads)
    reader: Reader = field(default_factory=Reader)
