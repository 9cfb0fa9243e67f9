"""The images of a conversation: those of a response and of all that it goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from queuechat.dialects.pictures import Picture
from queuechat.dialects.schemas.messages import ImagePart, ImageURL


@dataclass(slots=True)
class Sights:
    """Items in normal form, as a body that may have images; `before` of them come from earlier responses."""

    model: str
    items: Sequence[dict[str, Any]]
    before: int = 0
    choices: int = 1

    def pictures(self) -> list[Picture]:
        return [
            (self._path(k, j), _image(part))
            for k, item in enumerate(self.items)
            if item["type"] == "message"
            for j, part in enumerate(item["content"])
            if part["type"] == "input_image"
        ]

    def _path(self, item: int, part: int) -> str:
        own = item - self.before
        return f"input[{own}].content[{part}].image_url" if own >= 0 else "previous_response_id"


def _image(part: dict[str, Any]) -> ImagePart:
    return ImagePart(type="image_url", image_url=ImageURL(url=part["image_url"], detail=part["detail"]))
