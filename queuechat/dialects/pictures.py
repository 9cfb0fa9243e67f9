"""The images of a chat: what their data: URLs hold, checked by their headers. Pixels are the worker's business."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

from PIL import Image

from queuechat.dialects.order import Slip
from queuechat.dialects.schemas.messages import ImagePart
from queuechat.errors import InvalidImage, UnsupportedParameter
from queuechat.protocol import ModelCard
from queuechat.settings import Settings

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

_HEAD = re.compile(r"data:(image/[a-z0-9.+-]{1,40})?(;[a-z0-9=._-]{1,80})*?(;base64)?,", re.IGNORECASE)
_SCHEME = "data:"

Picture = tuple[str, ImagePart]
"""Where in the body an image part is, and the part."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the images of a request: how many, bytes of one file and of all, pixels of one."""

    count: int = 8
    bytes: int = 8 << 20
    total: int = 16 << 20
    pixels: int = 25_000_000


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.image_count, settings.image_limit, settings.image_total, settings.image_pixels)


class Pictured(Protocol):
    """A body that may have images."""

    model: str

    @property
    def choices(self) -> int: ...

    def pictures(self) -> list[Picture]:
        """In order, each with its path in the body."""


def images_of(body: Pictured, slip: Slip) -> list[str]:
    """The images for the job, as base64 of their files.

    Raises:
        UnsupportedParameter: the model is blind.
        InvalidImage: one is no image, or would have to be fetched and nobody has done so.
    """
    pictures = body.pictures()
    refuse_blind(pictures, slip.card, body.model)
    if slip.images is not None:
        return list(slip.images)
    return held(body, Limits())


def held(body: Pictured, limits: Limits) -> list[str]:
    """The images that a body holds in data: URLs, as base64 of their files.

    Raises:
        InvalidImage: one is no image, is elsewhere, or is over a limit.
    """
    pictures = body.pictures()
    refuse_too_many(pictures, limits)
    return checked([embedded(url_of(part), where) for where, part in pictures], pictures, limits, body.choices)


def unheeded(body: Pictured) -> list[str]:
    """What was said of images that means nothing here."""
    return ["image_url.detail"] if any(part.detail != "auto" for _, part in body.pictures()) else []


def refuse_blind(pictures: Sequence[Picture], card: ModelCard, name: str) -> None:
    """Raises UnsupportedParameter for images where the model sees none."""
    if pictures and not card.vision:
        where, _ = pictures[0]
        raise UnsupportedParameter(
            f"`{where}` is an image, and the model {name!r} takes text only: leave it out, or pick a model with vision",
            param=where,
        )


def refuse_too_many(pictures: Sequence[Picture], limits: Limits) -> None:
    """Raises InvalidImage for more images than a request may have."""
    if len(pictures) > limits.count:
        where, _ = pictures[limits.count]
        raise InvalidImage(f"a request may have {limits.count} images, this one has {len(pictures)}", param=where)


def url_of(part: ImagePart) -> str:
    return part.url.strip()


def is_embedded(url: str) -> bool:
    """Whether a URL holds what it names."""
    return url[: len(_SCHEME)].lower() == _SCHEME


def embedded(url: str, where: str) -> bytes:
    """The file in a data: URL.

    Raises:
        InvalidImage: it is another URL, or not an image in base64.
    """
    if not is_embedded(url):
        raise InvalidImage(
            f"`{where}` must be a data: URL here (data:image/png;base64,…): nothing is fetched for this request",
            param=where,
        )
    head = _HEAD.match(url, 0, 256)
    if head is None or not head[1] or not head[3]:
        raise InvalidImage(f"`{where}` must be of the form data:image/png;base64,…", param=where)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidImage(f"`{where}` holds no valid base64", param=where) from None


def checked(files: Sequence[bytes], pictures: Sequence[Picture], limits: Limits, choices: int) -> list[str]:
    """The files as base64, once all are known to be images within the limits; each choice has its own copy in the
    queue, and counts.

    Raises:
        InvalidImage: one is not; `param` names it.
    """
    for file, (where, _) in zip(files, pictures, strict=True):
        check(file, where, limits)
    if (total := sum(map(len, files)) * choices) > limits.total:
        times = f", once for each of {choices} choices," if choices > 1 else ""
        raise InvalidImage(
            f"the images have {total} bytes in all{times} and may have {limits.total}: send smaller ones",
            param="messages",
        )
    return [base64.b64encode(file).decode() for file in files]


def check(file: bytes, where: str, limits: Limits) -> None:
    """Raises InvalidImage for a file that is too large, is of no format we know, or has too many pixels. Only its
    header is read."""
    if len(file) > limits.bytes:
        raise InvalidImage(f"`{where}` has {len(file)} bytes; an image may have {limits.bytes}", param=where)
    try:
        with Image.open(BytesIO(file), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise InvalidImage(f"`{where}` has more than {limits.pixels} pixels", param=where) from None
    except Exception:  # decoders meet hostile files with whatever goes wrong in them
        raise InvalidImage(
            f"`{where}` is no image that can be read: send PNG, JPEG, WebP or GIF", param=where
        ) from None
    if width * height > limits.pixels:
        raise InvalidImage(
            f"`{where}` is {width} x {height} pixels, more than {limits.pixels}: make it smaller", param=where
        )
