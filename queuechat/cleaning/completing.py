"""FastChat's own clean_battle rows, with the counts of their conversations that its next tool would have added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from queuechat.cleaning.style import metadata, with_tokens
from queuechat.leaderboard.battles import CleanBattle


def completed(battle: CleanBattle) -> CleanBattle:
    """With `conv_metadata` in full, where there are conversations to count in; what it says already stays."""
    if not (battle.conversation_a and battle.conversation_b) or "bold_count_b" in battle.conv_metadata:
        return battle
    counted = metadata(_counted(battle.conversation_a), _counted(battle.conversation_b))
    return replace(battle, conv_metadata={**counted, **battle.conv_metadata})


def _counted(conversation: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """With the tokens of each turn: FastChat's count where the row has it."""
    estimated = with_tokens([{"content": None, **turn} for turn in conversation])
    return [{**turn, **known} for turn, known in zip(estimated, conversation, strict=True)]
